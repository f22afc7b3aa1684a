// Samples of pictures at places from a grid, whose coordinates are from -1 to 1 across the picture.
// x: [n, channels, x1, x2], grid: [n, y1, y2, 2] with x before y, y: [n, channels, y1, y2].
// `place` scales a coordinate, `inside` says what counts for places outside of the picture, and
// `pixel` what counts for single elements there.

// A coordinate mirrored at both ends as often as it takes.
fn mirrored(x: f32, low: f32, high: f32) -> f32 {
  let span = high - low;
  if span <= 0.0 { return low; }
  let far = abs(x - low);
  let n = floor(far / span);
  let rest = far - n * span;
  return select(low + rest, high - rest, n % 2.0 == 1.0);
}

fn element_at(plane: u32, row: f32, col: f32) -> f32 {
  let i1 = u32(clamp(row, 0.0, f32(params.x1 - 1u)));
  let i2 = u32(clamp(col, 0.0, f32(params.x2 - 1u)));
  return load_x((plane * params.x1 + i1) * params.x2 + i2);
}

fn element(i: u32) -> f32 {
  let n_places = params.y1 * params.y2;
  let plane = i / n_places;
  let at = (plane / params.channels * n_places + i % n_places) * 2u;
  let size = vec2<f32>(f32(params.x2), f32(params.x1));
  return sample(plane, place(vec2<f32>(load_grid(at), load_grid(at + 1u)), size), size);
}
