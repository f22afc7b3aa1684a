// x: [n, channels, rows, cols], grid: [n, places, 2] of (along cols, along rows) from -1 to 1
// -> y: [n, channels, places]. params.margin is 0 where -1 and 1 are centers of elements, and 0.5
// where they are outer edges.

// A coordinate in elements.
fn unit_to_elements(at: f32, size: u32) -> f32 {
  let edges = f32(size) - 1.0 + 2.0 * params.margin;
  return (at + 1.0) * 0.5 * edges - params.margin;
}

// Mirrored at both ends until it is between them.
fn reflected(at: f32, size: u32) -> f32 {
  let low = -params.margin;
  let range = f32(size) - 1.0 + 2.0 * params.margin;
  if range <= 0.0 { return 0.0; }
  let from_low = abs(at - low);
  let turns = floor(from_low / range);
  let rest = from_low - turns * range;
  return low + select(range - rest, rest, turns % 2.0 == 0.0);
}

fn element(i: u32) -> y_value {
  let plane = i / params.places;
  let place = plane / params.channels * params.places + (i - plane * params.places);
  let col = unit_to_elements(load_grid(2u * place), params.cols);
  let row = unit_to_elements(load_grid(2u * place + 1u), params.rows);
  return sample(plane, inside(row, params.rows), inside(col, params.cols));
}

// Further outside all is alike, and conversions to integers stay defined.
fn inside(at: f32, size: u32) -> f32 {
  let near = clamp(at, -1e7, 1e7);
  let is_inside = near >= -params.margin && near <= f32(size) - 1.0 + params.margin;
  return select(brought_in(near, size), near, is_inside);
}

fn tap(plane: u32, row: i32, col: i32) -> f32 {
  let r = element_inside(row, params.rows);
  let c = element_inside(col, params.cols);
  if r < 0 || c < 0 || r >= i32(params.rows) || c >= i32(params.cols) { return 0.0; }
  return load_x((plane * params.rows + u32(r)) * params.cols + u32(c));
}
