// Softmax over the keys that a query sees, in place, one workgroup for each row; 0 for the rest.
// scores: [.., length, cols], in all params.rows rows.
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
  let mask_at = mask_from(row);
  // Every invocation comes back to the columns that it wrote.
  var largest = -3.4028234e38;
  for (var c = lane; c < params.cols; c += WORKGROUP) {
    if !is_hidden(row, c, mask_at) {
      let x = shown(scores[first + c], c, mask_at);
      scores[first + c] = x;
      largest = max(largest, x);
    }
  }
  largest = group_max(largest, lane);
  var sum = 0.0;
  for (var c = lane; c < params.cols; c += WORKGROUP) {
    var share = 0.0;
    if !is_hidden(row, c, mask_at) { share = exp(scores[first + c] - largest); }
    scores[first + c] = share;
    sum += share;
  }
  sum = group_sum(sum, lane);
  // A query that sees nothing gets 0.
  let scale = select(1.0 / sum, 0.0, sum == 0.0);
  for (var c = lane; c < params.cols; c += WORKGROUP) { scores[first + c] *= scale; }
}
