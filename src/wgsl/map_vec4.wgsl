// y[4 * i ..][..4] = element(i) for each of n_vectors vectors of four, one invocation each. What
// lies behind the last element is padding of the buffers and of no account.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if i >= params.n_vectors { return; }
  store_y(i, element(i));
}
