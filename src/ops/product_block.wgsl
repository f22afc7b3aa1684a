// Matrix products in registers alone. One invocation computes 4 rows and 8 columns of one of
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
  let row = (row_tile - matrix * params.row_tiles) * 4u;
  let col = (tile - row_tile * params.col_tiles) * 8u;
  let first = offsets(matrix);

  // Rows and columns behind the end repeat the last ones and are not stored.
  let rows = min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.m - 1u));
  let has_right = col + 4u < params.n;
  let right_col = select(col, col + 4u, has_right);
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  var sum4 = vec4<f32>();
  var sum5 = vec4<f32>();
  var sum6 = vec4<f32>();
  var sum7 = vec4<f32>();
  for (var k = 0u; k < params.k; k += 4u) {
    let a0 = left4(first[0], rows.x, k);
    let a1 = left4(first[0], rows.y, k);
    let a2 = left4(first[0], rows.z, k);
    let a3 = left4(first[0], rows.w, k);
    let b0 = right4(first[1], k, col);
    sum0 += b0 * a0;
    sum1 += b0 * a1;
    sum2 += b0 * a2;
    sum3 += b0 * a3;
    let b1 = right4(first[1], k, right_col);
    sum4 += b1 * a0;
    sum5 += b1 * a1;
    sum6 += b1 * a2;
    sum7 += b1 * a3;
  }

  store_row(first[2], row, col, sum0);
  if row + 1u < params.m { store_row(first[2], row + 1u, col, sum1); }
  if row + 2u < params.m { store_row(first[2], row + 2u, col, sum2); }
  if row + 3u < params.m { store_row(first[2], row + 3u, col, sum3); }
  if has_right {
    store_row(first[2], row, col + 4u, sum4);
    if row + 1u < params.m { store_row(first[2], row + 1u, col + 4u, sum5); }
    if row + 2u < params.m { store_row(first[2], row + 2u, col + 4u, sum6); }
    if row + 3u < params.m { store_row(first[2], row + 3u, col + 4u, sum7); }
  }
}
