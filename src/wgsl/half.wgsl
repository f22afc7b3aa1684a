// The nearest half, ties to even, still as f32: a conversion that follows is exact, where WGSL lets
// each device round on its own. What is no number stays none: rounded up, its bits could become
// those of 0.
fn nearest_half(value: f32) -> f32 {
  let bits = bitcast<u32>(value);
  let near = bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
  return select(near, value, (bits & 0x7fffffffu) > 0x7f800000u);
}

fn nearest_half4(value: vec4<f32>) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(value);
  let odd = (bits >> vec4<u32>(13u)) & vec4<u32>(1u);
  let near = bitcast<vec4<f32>>((bits + vec4<u32>(0xfffu) + odd) & vec4<u32>(0xffffe000u));
  return select(near, value, (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u));
}
