// Running totals along an axis, one invocation for each row. x, y: [outer, cols, inner].
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64; params.rows = outer * inner.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + lane;
  if row >= params.rows { return; }
  let first = row / params.inner * params.cols * params.inner + row % params.inner;
  var total = START;
  for (var step = 0u; step < params.cols; step++) {
    let c = select(step, params.cols - 1u - step, params.reverse != 0u);
    let at = first + c * params.inner;
    let before = total;
    total = next(total, load_x(at));
    store_y(at, kept(before, total));
  }
}
