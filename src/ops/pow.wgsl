// x to the power of y, both f32 or vectors of four. WGSL's own pow is for positive x only.
fn pow_of(x: in0, y: in0) -> in0 {
  let is_whole = y == floor(y);
  let half = y * 0.5;
  let is_odd = is_whole & (half != floor(half));
  let is_negative = x < in0(0.0);
  // The logarithm of 0 is infinite, and what a device makes of that is its own affair.
  let power_of_zero = select(in0(0.0), 1.0 / abs(x), y < in0(0.0));
  let magnitude = select(exp2(y * log2(abs(x))), power_of_zero, x == in0(0.0));
  let signed = select(magnitude, -magnitude, is_odd & is_negative);
  // A negative base has no power between whole ones. Its root is no number either; its logarithm is one on some devices.
  let power = select(signed, sqrt(x), !is_whole & is_negative);
  return select(power, in0(1.0), y == in0(0.0));
}
