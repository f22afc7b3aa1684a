// Layer normalisation, one workgroup for each row. x, y: [rows, cols]; sums in f32.
// Grid: [min(rows, 65535), ceil(rows / 65535), 1].
@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if row >= params.rows { return; }
  var sum = 0.0;
  for (var c = lane; c < params.cols; c += WORKGROUP) { sum += value(row, c); }
  let mean = centre(group_sum(sum, lane) / f32(params.cols));
  var squares = 0.0;
  for (var c = lane; c < params.cols; c += WORKGROUP) {
    let d = value(row, c) - mean;
    squares += d * d;
  }
  let inverse = inverseSqrt(group_sum(squares, lane) / f32(params.cols) + params.epsilon);
  for (var c = lane; c < params.cols; c += WORKGROUP) {
    let x = value(row, c);
    keep_sum(row, c, x);
    store_y(row * params.cols + c, scaled((x - mean) * inverse, row, c));
  }
  if lane == 0u { keep_stats(row, mean, inverse); }
}
