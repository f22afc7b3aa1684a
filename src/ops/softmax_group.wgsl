// Softmax over the last axis, one workgroup for each row. x, y: [rows, cols]; sums in f32.
// Grid: [min(rows, 65535), ceil(rows / 65535), 1].
@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if row >= params.rows { return; }
  let first = row * params.cols;

  var largest = load_x(first);
  for (var c = lane; c < params.cols; c += WORKGROUP) { largest = max(largest, load_x(first + c)); }
  largest = group_max(largest, lane);
  var sum = 0.0;
  for (var c = lane; c < params.cols; c += WORKGROUP) { sum += exp(load_x(first + c) - largest); }
  sum = group_sum(sum, lane);
  for (var c = lane; c < params.cols; c += WORKGROUP) {
    store_y(first + c, share(load_x(first + c) - largest, sum));
  }
}
