// x to the power of e by squaring, modulo 2^32; 1 / x is rounded towards 0.
fn pow_int(x: in0, e: i32) -> in0 {
  if e < 0 {
    let is_unit = x == in0(1) || (IS_SIGNED == 1u && i32(x) == -1);
    if !is_unit { return in0(0); }
  }
  var result = in0(1);
  var square = x;
  for (var rest = u32(abs(e)); rest > 0u; rest >>= 1u) {
    if (rest & 1u) == 1u { result *= square; }
    square *= square;
  }
  return result;
}

fn pow_real(x: in0, y: f32) -> in0 {
  if y == floor(y) && abs(y) < 2147483520.0 { return pow_int(x, i32(y)); }
  return in0(pow(max(f32(x), 0.0), y));
}
