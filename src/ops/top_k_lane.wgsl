// The k best elements along an axis in their order, equal ones by their index, one invocation for
// each row. x: [outer, cols, inner], y, indices: [outer, k, inner].
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64; params.rows = outer * inner.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.y * groups.x + group.x) * 64u + lane;
  if row >= params.rows { return; }
  let inner = params.inner;
  let first = row / inner * params.cols * inner + row % inner;
  let y_first = row / inner * params.k * inner + row % inner;

  var last_key = 0xffffffffu;
  var last_idx = 0u;
  for (var place = 0u; place < params.k; place++) {
    var best_key = 0u;
    var best_idx = params.cols;
    for (var c = 0u; c < params.cols; c++) {
      let key = key_of(load_x(first + c * inner));
      let is_left = place == 0u || key < last_key || (key == last_key && c > last_idx);
      if is_left && (key > best_key || best_idx == params.cols) {
        best_key = key;
        best_idx = c;
      }
    }
    last_key = best_key;
    last_idx = min(best_idx, params.cols - 1u);
    put(y_first + place * inner, load_x(first + last_idx * inner), last_idx);
  }
}
