// y[target_of(line, step)] = reduce(that, updates[source_of(line, step)]) for n_steps steps in
// their order, one invocation for each of n_lines lines: no two lines have a target in common.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let line = (group.y * groups.x + group.x) * 64u + lane;
  if line >= params.n_lines { return; }
  for (var step = 0u; step < params.n_steps; step++) {
    let at = target_of(line, step);
    y[at] = cell(reduce(y_value(y[at]), load_updates(source_of(line, step))));
  }
}
