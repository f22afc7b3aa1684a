// Layer normalisation, one invocation for each row. x, y: [rows, cols]; sums in f32.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + lane;
  if row >= params.rows { return; }
  var sum = 0.0;
  for (var c = 0u; c < params.cols; c++) { sum += value(row, c); }
  let mean = centre(sum / f32(params.cols));
  var squares = 0.0;
  for (var c = 0u; c < params.cols; c++) {
    let d = value(row, c) - mean;
    squares += d * d;
  }
  let inverse = inverseSqrt(squares / f32(params.cols) + params.epsilon);
  for (var c = 0u; c < params.cols; c++) {
    let x = value(row, c);
    keep_sum(row, c, x);
    store_y(row * params.cols + c, scaled((x - mean) * inverse, row, c));
  }
  keep_stats(row, mean, inverse);
}
