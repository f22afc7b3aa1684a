// Where the terms of a convolution are in their window: y: [terms, 2], for term
// [channel, kernel1, kernel2] how far it is from the window's first element, and its row and column
// in the window, 16 bits each.
fn element(i: u32) -> u32 {
  let term = i / 2u;
  let k2 = term % params.kernel2 * params.dilation2;
  let k1 = term / params.kernel2 % params.kernel1 * params.dilation1;
  let channel = term / params.kernel2 / params.kernel1;
  return select((channel * params.x1 + k1) * params.x2 + k2, k1 << 16u | k2, i % 2u == 1u);
}
