// Vector place(i).y of y is four elements of x, the first at place(i).x and pick_stride apart.
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
  let picks = vec4<u32>(at.x + params.pick_stride * vec4<i32>(0, 1, 2, 3));
  store_y(u32(at.y), unit(load_x(picks.x), load_x(picks.y), load_x(picks.z), load_x(picks.w)));
}
