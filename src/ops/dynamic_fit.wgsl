// Scale and zero point of 8 bits for the union of ranges: [n_ranges, 2]. A range of nothing has
// scale 1. Grid: [1, 1, 1].
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
  var low = 0.0;
  var high = 0.0;
  for (var i = lane; i < params.n_ranges; i += WORKGROUP) {
    low = min(low, load_range(i * 2u));
    high = max(high, load_range(i * 2u + 1u));
  }
  low = -group_max(-low, lane);
  high = group_max(high, lane);
  let width = (high - low) / 255.0;
  let scale = select(width, 1.0, width == 0.0);
  let offset = clamp(round(-low / scale), 0.0, 255.0);
  if lane > 0u { return; }
  store_scale(0u, scale);
  store_zero_point(0u, vec4<u32>(u32(offset), 0u, 0u, 0u));
}
