// One step of a recurrent network, one invocation for each unit of each direction and sequence.
// projected: [dirs, rows, GATES, hidden], weights: [dirs, hidden, hidden] of the four gates,
// states: [dirs, batch, hidden]; the last direction of two runs backwards.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
struct State {
  // Of the state and in y.
  idx: u32,
  y: u32,
  dir: u32,
  unit: u32,
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let idx = (group.y * groups.x + group.x) * 64u + lane;
  let hidden = params.hidden;
  let sequence = idx / hidden;
  let unit = idx - sequence * hidden;
  let dir = sequence / params.batch;
  if dir >= params.dirs { return; }
  let batch = sequence - dir * params.batch;

  var recurrent = vec4<f32>();
  let state = sequence * hidden;
  var at = dir * hidden * hidden + unit;
  for (var k = 0u; k < hidden; k++) {
    recurrent += source(state + k) * load_weights(at);
    at += hidden;
  }

  let backwards = dir == 1u || params.reverse != 0u;
  let step = select(params.step, params.seq - 1u - params.step, backwards);
  let rows = params.seq * params.batch;
  let row = dir * rows + step * params.row_step + batch * params.row_batch;
  var projected = vec4<f32>();
  for (var gate = 0u; gate < GATES; gate++) {
    projected[gate] = load_projected((row * GATES + gate) * hidden + unit)
      + bias((dir * 2u * GATES + gate) * hidden + unit);
    recurrent[gate] += bias(((dir * 2u + 1u) * GATES + gate) * hidden + unit);
  }
  let y = step * params.y_step + dir * params.y_dir + batch * params.y_batch + unit;
  advance(State(idx, y, dir, unit), projected, recurrent);
}
