// A convolution without workgroup memory: each invocation computes eight features of one group at
// eight neighbouring places of a row, in registers. x: [groups of all batches, channels, rows, cols],
// padded so that no window leaves it; w: [groups, terms, eights * 2] in vectors of four features;
// y: [groups of all batches, features, y1, y2].
// Grid: [min(workgroups, 65535), ceil(workgroups / 65535), 1] of workgroups of 64, for
// n_groups * eights * y1 * ceil(y2 / 8) invocations.
//
// The tap of a term is counted and not divided out: next2, next1 and next0 lead from one place of x
// to that of the next term along a row of the kernel, to its next row and to the next channel.

// Four features from m on at place `at` of the first of them.
fn put(sums: vec4<f32>, group: u32, m: u32, at: u32) {
  let feature = group % params.groups * params.features + m;
  let plane = params.y1 * params.y2;
  if m < params.features { store_y(at, finish(sums.x, feature, at)); }
  if m + 1u < params.features { store_y(at + plane, finish(sums.y, feature + 1u, at + plane)); }
  if m + 2u < params.features { store_y(at + 2u * plane, finish(sums.z, feature + 2u, at + 2u * plane)); }
  if m + 3u < params.features { store_y(at + 3u * plane, finish(sums.w, feature + 3u, at + 3u * plane)); }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (workgroup.y * workgroups.x + workgroup.x) * 64u + lane;
  let n_blocks = (params.y2 + 7u) / 8u;
  let o2 = i % n_blocks * 8u;
  var rest = i / n_blocks;
  let o1 = rest % params.y1;
  rest /= params.y1;
  let m = rest % params.eights * 8u;
  let group = rest / params.eights;
  if group >= params.n_groups { return; }

  let next = params.eights * 2u;
  var weight = group % params.groups * params.terms * next + m / 4u;
  var at = (group * params.channels * params.rows + o1 * params.stride1) * params.cols + o2 * params.stride2;
  var k1 = 0u;
  var k2 = 0u;
  // Features m to m + 3 and m + 4 to m + 7 at each place.
  var a0 = vec4<f32>(0.0); var b0 = vec4<f32>(0.0);
  var a1 = vec4<f32>(0.0); var b1 = vec4<f32>(0.0);
  var a2 = vec4<f32>(0.0); var b2 = vec4<f32>(0.0);
  var a3 = vec4<f32>(0.0); var b3 = vec4<f32>(0.0);
  var a4 = vec4<f32>(0.0); var b4 = vec4<f32>(0.0);
  var a5 = vec4<f32>(0.0); var b5 = vec4<f32>(0.0);
  var a6 = vec4<f32>(0.0); var b6 = vec4<f32>(0.0);
  var a7 = vec4<f32>(0.0); var b7 = vec4<f32>(0.0);
  for (var term = 0u; term < params.terms; term++) {
    let a = load_w(weight);
    let b = load_w(weight + 1u);
    weight += next;
    // Places behind the end of a row read something, and are not stored.
    let x0 = load_x(at); a0 += x0 * a; b0 += x0 * b;
    let x1 = load_x(at + params.stride2); a1 += x1 * a; b1 += x1 * b;
    let x2 = load_x(at + 2u * params.stride2); a2 += x2 * a; b2 += x2 * b;
    let x3 = load_x(at + 3u * params.stride2); a3 += x3 * a; b3 += x3 * b;
    let x4 = load_x(at + 4u * params.stride2); a4 += x4 * a; b4 += x4 * b;
    let x5 = load_x(at + 5u * params.stride2); a5 += x5 * a; b5 += x5 * b;
    let x6 = load_x(at + 6u * params.stride2); a6 += x6 * a; b6 += x6 * b;
    let x7 = load_x(at + 7u * params.stride2); a7 += x7 * a; b7 += x7 * b;
    k2++;
    let row_ends = k2 == params.kernel2;
    k1 += select(0u, 1u, row_ends);
    let plane_ends = k1 == params.kernel1;
    at += select(params.next2, bitcast<u32>(params.next1), row_ends)
      + select(0u, bitcast<u32>(params.next0), plane_ends);
    k2 = select(k2, 0u, row_ends);
    k1 = select(k1, 0u, plane_ends);
  }

  let first = ((group * params.features + m) * params.y1 + o1) * params.y2 + o2;
  let fifth = first + 4u * params.y1 * params.y2;
  let n = params.y2 - o2;
  put(a0, group, m, first); put(b0, group, m + 4u, fifth);
  if n > 1u { put(a1, group, m, first + 1u); put(b1, group, m + 4u, fifth + 1u); }
  if n > 2u { put(a2, group, m, first + 2u); put(b2, group, m + 4u, fifth + 2u); }
  if n > 3u { put(a3, group, m, first + 3u); put(b3, group, m + 4u, fifth + 3u); }
  if n > 4u { put(a4, group, m, first + 4u); put(b4, group, m + 4u, fifth + 4u); }
  if n > 5u { put(a5, group, m, first + 5u); put(b5, group, m + 4u, fifth + 5u); }
  if n > 6u { put(a6, group, m, first + 6u); put(b6, group, m + 4u, fifth + 6u); }
  if n > 7u { put(a7, group, m, first + 7u); put(b7, group, m + 4u, fifth + 7u); }
}
