// A transposed convolution: each invocation computes four features of one group at four places of a
// row, stride2 apart: these see the same taps of the kernel at neighbouring places of x.
// x: [groups of all batches, channels, x0, x1, x2]; w: [groups, channels, taps, fours] in vectors of
// four features; y: [groups of all batches, features, y0, y1, y2]. before is what the padding takes
// off at the beginning.
// Grid: [min(workgroups, 65535), ceil(workgroups / 65535), 1] of workgroups of 64, for
// n_groups * fours * y0 * y1 * stride2 * ceil(y2 / stride2 / 4) invocations.

// The place of x that an output place sees through a tap, `back` behind it; places before the first
// wrap around. Beyond every size where the tap falls between two places.
fn seen(place: u32, back: u32, stride: u32, reach: u32) -> u32 {
  let far = place + reach * stride - back;
  return select(0x80000000u, far / stride - reach, far % stride == 0u);
}

// Four features from m on at place `at` of the first of them.
fn put(sums: vec4<f32>, group: u32, m: u32, at: u32) {
  let feature = group % params.groups * params.features + m;
  let n_places = params.y0 * params.y1 * params.y2;
  if m < params.features { store_y(at, finish(sums.x, feature, at)); }
  if m + 1u < params.features { store_y(at + n_places, finish(sums.y, feature + 1u, at + n_places)); }
  if m + 2u < params.features { store_y(at + 2u * n_places, finish(sums.z, feature + 2u, at + 2u * n_places)); }
  if m + 3u < params.features { store_y(at + 3u * n_places, finish(sums.w, feature + 3u, at + 3u * n_places)); }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (workgroup.y * workgroups.x + workgroup.x) * 64u + lane;
  let s = params.stride2;
  let n_blocks = params.blocks;
  let o2 = i / s % n_blocks * 4u * s + i % s;
  var rest = i / s / n_blocks;
  let o1 = rest % params.y1;
  rest /= params.y1;
  let o0 = rest % params.y0;
  rest /= params.y0;
  let four = rest % params.fours;
  let group = rest / params.fours;
  if group >= params.n_groups || o2 >= params.y2 { return; }

  let reach = vec3<u32>(
    params.kernel0 * params.dilation0, params.kernel1 * params.dilation1, params.kernel2 * params.dilation2,
  );
  let plane = params.x0 * params.x1 * params.x2;
  let next = params.kernel0 * params.kernel1 * params.kernel2 * params.fours;
  let first_weight = group % params.groups * params.channels * next + four;
  var a0 = vec4<f32>(0.0);
  var a1 = vec4<f32>(0.0);
  var a2 = vec4<f32>(0.0);
  var a3 = vec4<f32>(0.0);
  for (var k0 = 0u; k0 < params.kernel0; k0++) {
    let i0 = seen(o0 + params.before0, k0 * params.dilation0, params.stride0, reach.x);
    if i0 >= params.x0 { continue; }
    for (var k1 = 0u; k1 < params.kernel1; k1++) {
      let i1 = seen(o1 + params.before1, k1 * params.dilation1, params.stride1, reach.y);
      if i1 >= params.x1 { continue; }
      for (var k2 = 0u; k2 < params.kernel2; k2++) {
        let i2 = seen(o2 + params.before2, k2 * params.dilation2, s, reach.z);
        // Of four places, those from 0 on may be inside where the first is before it.
        let inside = vec4<u32>(i2, i2 + 1u, i2 + 2u, i2 + 3u) < vec4<u32>(params.x2);
        if !any(inside) { continue; }
        var at = (group * params.channels * params.x0 + i0) * params.x1 * params.x2 + i1 * params.x2 + i2;
        var weight = first_weight + ((k0 * params.kernel1 + k1) * params.kernel2 + k2) * params.fours;
        for (var c = 0u; c < params.channels; c++) {
          let w = load_w(weight);
          let x0 = select(0.0, load_x(at), inside.x);
          let x1 = select(0.0, load_x(at + 1u), inside.y);
          let x2 = select(0.0, load_x(at + 2u), inside.z);
          let x3 = select(0.0, load_x(at + 3u), inside.w);
          a0 += x0 * w;
          a1 += x1 * w;
          a2 += x2 * w;
          a3 += x3 * w;
          at += plane;
          weight += next;
        }
      }
    }
  }

  let m = 4u * four;
  let first = (((group * params.features + m) * params.y0 + o0) * params.y1 + o1) * params.y2 + o2;
  let n = params.y2 - o2;
  put(a0, group, m, first);
  if n > s { put(a1, group, m, first + s); }
  if n > 2u * s { put(a2, group, m, first + 2u * s); }
  if n > 3u * s { put(a3, group, m, first + 3u * s); }
}
