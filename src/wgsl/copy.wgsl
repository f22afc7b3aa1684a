// y[place(i).y] = x[place(i).x] for each of n_units units: elements, words or vectors of four.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if i >= params.n_units { return; }
  let at = place(i);
  store_y(u32(at.y), load_x(u32(at.x)));
}
