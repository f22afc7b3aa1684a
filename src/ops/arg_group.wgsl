// The index of the best element along the last axis, one workgroup for each row.
// x: [rows, cols], y: [rows]. Grid: [min(rows, 65535), ceil(rows / 65535), 1].
var<workgroup> tops: array<x_value, WORKGROUP>;
var<workgroup> bests: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if row >= params.rows { return; }
  let first = row * params.cols;
  var best = min(lane, params.cols - 1u);
  var top = load_x(first + best);
  for (var c = lane + WORKGROUP; c < params.cols; c += WORKGROUP) {
    let x = load_x(first + c);
    if is_better(x, c, top, best) {
      best = c;
      top = x;
    }
  }
  tops[lane] = top;
  bests[lane] = best;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if lane < half && is_better(tops[lane + half], bests[lane + half], tops[lane], bests[lane]) {
      tops[lane] = tops[lane + half];
      bests[lane] = bests[lane + half];
    }
    workgroupBarrier();
  }
  if lane == 0u { store_y(row, y_value(bests[0])); }
}
