// x, y: [.., rows, cols]; what is not kept is 0.
fn element(i: u32) -> y_value {
  let line = i / params.cols;
  let diagonal = i32(i - line * params.cols) - i32(line % params.rows);
  if keeps(diagonal) { return load_x(i); }
  return y_value();
}
