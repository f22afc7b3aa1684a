// Weights for kernels that compute several features at once: w: [groups, features, terms] ->
// y: [groups, terms, fours, 4], with zeros where there is no feature.
fn element(i: u32) -> f32 {
  let m = i / 4u % params.fours * 4u + i % 4u;
  let rest = i / 4u / params.fours;
  let term = rest % params.terms;
  if m >= params.features { return 0.0; }
  return load_w((rest / params.terms * params.features + m) * params.terms + term);
}
