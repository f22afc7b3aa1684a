// Weights for kernels that compute several features at once: w -> y: [groups, terms, fours, 4],
// with zeros where there is no feature. A term is [channel, tap]; the strides lead through w, where
// taps lie together: [groups, features, channels, taps], or [groups, channels, features, taps] where
// the convolution is transposed.
fn element(i: u32) -> f32 {
  let m = i / 4u % params.fours * 4u + i % 4u;
  let rest = i / 4u / params.fours;
  let term = rest % params.terms;
  let group = rest / params.terms;
  if m >= params.features { return 0.0; }
  return load_w(
    group * params.group_stride + m * params.feature_stride
      + term / params.taps * params.channel_stride + term % params.taps
  );
}
