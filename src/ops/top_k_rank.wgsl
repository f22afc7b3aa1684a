// The k best elements along an axis in their order, equal ones by their index. One invocation for
// each element counts those before it: that is its place. x: [outer, cols, inner],
// y, indices: [outer, k, inner].
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64; params.rows = outer * inner.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  let row = i / params.cols;
  if row >= params.rows { return; }
  let idx = i - row * params.cols;
  let inner = params.inner;
  let first = row / inner * params.cols * inner + row % inner;
  let x = load_x(first + idx * inner);
  let key = key_of(x);
  var place = 0u;
  for (var c = 0u; c < params.cols; c++) {
    let other = key_of(load_x(first + c * inner));
    place += select(0u, 1u, other > key || (other == key && c < idx));
  }
  if place < params.k {
    put(row / inner * params.k * inner + row % inner + place * inner, x, idx);
  }
}
