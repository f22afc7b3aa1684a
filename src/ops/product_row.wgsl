// Matrix products in registers alone. One invocation computes 4 columns of a row of one of
// n_matrices. Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let tile = (group.y * groups.x + group.x) * 64u + lane;
  let row_tile = tile / params.col_tiles;
  let matrix = row_tile / params.row_tiles;
  if matrix >= params.n_matrices { return; }
  let row = row_tile - matrix * params.row_tiles;
  let col = (tile - row_tile * params.col_tiles) * 4u;
  let first = offsets(matrix);

  var sum = vec4<f32>();
  for (var k = 0u; k < params.k; k += 4u) {
    sum += right4(first[1], k, col) * left4(first[0], row, k);
  }
  store_row(first[2], row, col, sum);
}
