// hot: [outer, inner], values: [off, on] -> y: [outer, depth, inner]; negative numbers count from
// the end.
fn element(i: u32) -> y_value {
  let line = i / params.inner;
  let outer = line / params.depth;
  let place = i32(line - outer * params.depth);
  let number = i32(load_hot(outer * params.inner + (i - line * params.inner)));
  let is_on = number == place || number == place - i32(params.depth);
  return load_values(select(0u, 1u, is_on));
}
