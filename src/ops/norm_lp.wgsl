// y = x / norm(sum part(x)) along an axis, one invocation for each row. x, y: [outer, cols, inner].
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
  var sum = 0.0;
  for (var c = 0u; c < params.cols; c++) { sum += part(load_x(first + c * inner)); }
  let length = norm(sum);
  let divisor = select(length, 1.0, length == 0.0);
  for (var c = 0u; c < params.cols; c++) {
    let at = first + c * inner;
    store_y(at, load_x(at) / divisor);
  }
}
