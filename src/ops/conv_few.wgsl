// A convolution whose windows are single elements, of few places and many channels: one workgroup
// for four features of one group at one place, its invocations sharing the channels.
// x: [groups of all batches, channels, places], w: [groups, features, channels],
// y: [groups of all batches, features, places].
// Grid: [min(n, 65535), ceil(n / 65535), 1] for n = n_groups * fours * places workgroups.
var<workgroup> partial: array<vec4<acc>, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = workgroup.y * workgroups.x + workgroup.x;
  let n_places = params.y2;
  let place = i % n_places;
  let m = i / n_places % params.fours * 4u;
  let group = i / n_places / params.fours;
  if group >= params.n_groups { return; }

  // Features behind the last repeat it, and are not stored.
  let row = min(vec4<u32>(m, m + 1u, m + 2u, m + 3u), vec4<u32>(params.features - 1u));
  let feature = group % params.groups * params.features + row;
  let weight = feature * params.channels;
  let first = group * params.channels * n_places + place;
  var sums = vec4<acc>();
  for (var c = lane; c < params.channels; c += 64u) {
    sums += x_at(first + c * n_places) * vec4<acc>(
      w_at(weight.x + c, feature.x), w_at(weight.y + c, feature.y), w_at(weight.z + c, feature.z), w_at(weight.w + c, feature.w),
    );
  }
  partial[lane] = sums;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half /= 2u) {
    if lane < half { partial[lane] += partial[lane + half]; }
    workgroupBarrier();
  }
  if lane < 4u && m + lane < params.features {
    let at = (group * params.features + m + lane) * n_places + place;
    store_y(at, finish(partial[0][lane], feature[lane], at));
  }
}
