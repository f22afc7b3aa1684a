fn sample(plane: u32, row: f32, col: f32) -> f32 {
  let r = i32(floor(row));
  let c = i32(floor(col));
  let across = col - floor(col);
  let above = mix(tap(plane, r, c), tap(plane, r, c + 1), across);
  let below = mix(tap(plane, r + 1, c), tap(plane, r + 1, c + 1), across);
  return mix(above, below, row - floor(row));
}
