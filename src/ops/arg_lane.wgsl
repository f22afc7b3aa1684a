// The index of the best element along an axis, one invocation for each row.
// x: [outer, cols, inner], y: [outer, inner].
fn element(i: u32) -> y_value {
  let first = i / params.inner * params.cols * params.inner + i % params.inner;
  var best = 0u;
  var top = load_x(first);
  for (var c = 1u; c < params.cols; c++) {
    let x = load_x(first + c * params.inner);
    if is_better(x, c, top, best) {
      best = c;
      top = x;
    }
  }
  return y_value(best);
}
