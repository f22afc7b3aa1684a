// Planes with zeros around them. x: [planes, x1, x2] -> y: [planes, rows, cols].
fn element(i: u32) -> acc {
  let rest = i / params.cols;
  // Places before the beginning wrap around to numbers beyond every size.
  let i2 = i % params.cols - params.before2;
  let i1 = rest % params.rows - params.before1;
  if i1 >= params.x1 || i2 >= params.x2 { return acc(); }
  return x_at((rest / params.rows * params.x1 + i1) * params.x2 + i2);
}
