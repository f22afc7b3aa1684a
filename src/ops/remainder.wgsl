// What is left of x after whole steps of y towards 0, with the sign of x. Long division in powers
// of two, whose steps are exact: a rounded quotient would be off by a whole step.
fn remainder_of(x: f32, y: f32) -> f32 {
  var rest = abs(x);
  let b = abs(y);
  if b < 1.1754944e-38 { return sqrt(-1.0 - rest); }
  if rest < b { return x; }
  let bits = bitcast<u32>(b);
  for (var k = (bitcast<u32>(rest) >> 23u) - (bits >> 23u) + 1u; k > 0u; k--) {
    let step = bitcast<f32>(bits + ((k - 1u) << 23u));
    if rest >= step { rest -= step; }
  }
  return select(rest, -rest, x < 0.0);
}
