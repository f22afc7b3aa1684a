// One element of a convolution over up to three spatial axes, whatever its groups, strides,
// dilations and pads. x: [batch, groups * channels, x0, x1, x2], w: [groups * features, channels,
// kernel0, kernel1, kernel2], y: [batch, groups * features, y0, y1, y2].
fn element(i: u32) -> acc {
  let o2 = i % params.y2;
  var rest = i / params.y2;
  let o1 = rest % params.y1;
  rest /= params.y1;
  let o0 = rest % params.y0;
  rest /= params.y0;
  let n_features = params.groups * params.features;
  let m = rest % n_features;
  let n = rest / n_features;
  let group = m / params.features;

  // Places before the beginning wrap around to numbers beyond every size.
  let first0 = o0 * params.stride0 - params.before0;
  let first1 = o1 * params.stride1 - params.before1;
  let first2 = o2 * params.stride2 - params.before2;
  var sum = acc();
  var weight = m * params.channels * params.kernel0 * params.kernel1 * params.kernel2;
  for (var c = 0u; c < params.channels; c++) {
    let plane = (n * params.groups + group) * params.channels + c;
    for (var k0 = 0u; k0 < params.kernel0; k0++) {
      let i0 = first0 + k0 * params.dilation0;
      for (var k1 = 0u; k1 < params.kernel1; k1++) {
        let i1 = first1 + k1 * params.dilation1;
        let row = ((plane * params.x0 + i0) * params.x1 + i1) * params.x2;
        let inside = i0 < params.x0 && i1 < params.x1;
        for (var k2 = 0u; k2 < params.kernel2; k2++) {
          let i2 = first2 + k2 * params.dilation2;
          if inside && i2 < params.x2 { sum += x_at(row + i2) * w_at(weight, m); }
          weight++;
        }
      }
    }
  }
  return finish(sum, m, i);
}
