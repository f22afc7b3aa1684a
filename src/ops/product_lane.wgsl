// Matrix products from single elements. One invocation computes 4 rows and 4 columns of one of
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
  let col = (tile - row_tile * params.col_tiles) * 4u;
  let first = offsets(matrix);

  // Rows and columns behind the end repeat the last one and are not stored.
  let rows = min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.m - 1u));
  let cols = min(vec4<u32>(col) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.n - 1u));
  var a_at = first[0] + rows * params.a_row;
  var b_at = first[1] + cols * params.b_col;
  var sum0 = vec4<acc>();
  var sum1 = vec4<acc>();
  var sum2 = vec4<acc>();
  var sum3 = vec4<acc>();
  for (var k = 0u; k < params.k; k++) {
    let b = vec4<acc>(
      right(b_at.x, cols.x), right(b_at.y, cols.y), right(b_at.z, cols.z), right(b_at.w, cols.w),
    );
    sum0 += left(a_at.x, rows.x) * b;
    sum1 += left(a_at.y, rows.y) * b;
    sum2 += left(a_at.z, rows.z) * b;
    sum3 += left(a_at.w, rows.w) * b;
    a_at += params.a_col;
    b_at += params.b_row;
  }

  store_row(first[2], row, col, sum0);
  if row + 1u < params.m { store_row(first[2], row + 1u, col, sum1); }
  if row + 2u < params.m { store_row(first[2], row + 2u, col, sum2); }
  if row + 3u < params.m { store_row(first[2], row + 3u, col, sum3); }
}
