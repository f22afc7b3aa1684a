// The nearest halves, as f32: ties to even, and params.infinity for what rounds to more than the
// largest one.
fn half_of(x: vec4<f32>) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(x);
  let is_odd = (bits >> vec4<u32>(13u)) & vec4<u32>(1u);
  let near = bitcast<vec4<f32>>((bits + vec4<u32>(0xfffu) + is_odd) & vec4<u32>(0xffffe000u));
  // Below 2^-14 halves are multiples of 2^-24.
  let small = round(x * 16777216.0) * 5.9604644775390625e-8;
  let finite = select(near, small, abs(x) < vec4<f32>(6.103515625e-5));
  let all = select(finite, sign(x) * params.infinity, abs(x) >= vec4<f32>(65520.0));
  return select(all, x, (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u));
}
