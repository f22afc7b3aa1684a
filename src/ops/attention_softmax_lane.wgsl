// Softmax over the keys that a query sees, in place, one invocation for each row; 0 for the rest.
// scores: [.., length, cols], in all params.rows rows.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + lane;
  if row >= params.rows { return; }
  let first = row * params.cols;
  let mask_at = mask_from(row);
  var largest = -3.4028234e38;
  for (var c = 0u; c < params.cols; c++) {
    if !is_hidden(row, c, mask_at) {
      let x = shown(scores[first + c], c, mask_at);
      scores[first + c] = x;
      largest = max(largest, x);
    }
  }
  var sum = 0.0;
  for (var c = 0u; c < params.cols; c++) {
    var share = 0.0;
    if !is_hidden(row, c, mask_at) { share = exp(scores[first + c] - largest); }
    scores[first + c] = share;
    sum += share;
  }
  // A query that sees nothing gets 0.
  let scale = select(1.0 / sum, 0.0, sum == 0.0);
  for (var c = 0u; c < params.cols; c++) { scores[first + c] *= scale; }
}
