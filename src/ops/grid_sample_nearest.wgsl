fn sample(plane: u32, row: f32, col: f32) -> f32 {
  return tap(plane, i32(round(row)), i32(round(col)));
}
