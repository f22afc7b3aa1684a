// y[target_of(line, step)] = updates[source_of(line, step)] for n_lines lines of n_steps steps, one
// invocation each; neighbours take neighbouring lines. Where two have one target, either may win.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if i >= params.n_lines * params.n_steps { return; }
  let step = i / params.n_lines;
  let line = i - step * params.n_lines;
  store_y(target_of(line, step), load_updates(source_of(line, step)));
}
