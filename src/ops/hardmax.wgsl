// 1 at the first maximum along an axis and 0 elsewhere, one invocation for each row.
// x, y: [outer, cols, inner].
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64; params.rows = outer * inner.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + lane;
  if row >= params.rows { return; }
  let inner = params.inner;
  let first = row / inner * params.cols * inner + row % inner;
  var best = 0u;
  var top = load_x(first);
  for (var c = 1u; c < params.cols; c++) {
    let x = load_x(first + c * inner);
    if x > top {
      best = c;
      top = x;
    }
  }
  for (var c = 0u; c < params.cols; c++) {
    store_y(first + c * inner, select(0.0, 1.0, c == best));
  }
}
