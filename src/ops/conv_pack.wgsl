// Weights for kernels that compute several features at once: w -> y: [groups, blocks, terms, width],
// with zeros where there is no feature. A term is [channel, tap]; the strides lead through w, where
// taps lie together: [groups, features, channels, taps], or [groups, channels, features, taps] where
// the convolution is transposed.
fn element(i: u32) -> acc {
  var rest = i / params.width;
  let term = rest % params.terms;
  rest /= params.terms;
  let m = rest % params.blocks * params.width + i % params.width;
  let group = rest / params.blocks;
  if m >= params.features { return acc(); }
  return w_at(
    group * params.group_stride + m * params.feature_stride
      + term / params.taps * params.channel_stride + term % params.taps,
    group * params.features + m,
  );
}
