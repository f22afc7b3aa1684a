// x to the power of y, both f32 or vectors of four. WGSL's own pow is for positive x only.
fn pow_of(x: in0, y: in0) -> in0 {
  let is_whole = y == floor(y);
  let half = y * 0.5;
  let is_odd = is_whole & (half != floor(half));
  // A negative base has no power between whole ones: its logarithm is no number.
  let base = select(x, abs(x), is_whole);
  let magnitude = exp2(y * log2(base));
  let power = select(magnitude, -magnitude, is_odd & (x < in0(0.0)));
  return select(power, in0(1.0), y == in0(0.0));
}
