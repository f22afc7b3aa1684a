// Matrix products from single elements: y[row, col] = finish(sum_k a[row, k] * b[k, col]) for each
// of n_matrices. One invocation computes 4 rows and 4 columns.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let block = (group.y * groups.x + group.x) * 64u + lane;
  let blocks = params.row_blocks * params.col_blocks;
  let matrix = block / blocks;
  if matrix >= params.n_matrices { return; }
  let row_block = block % blocks / params.col_blocks;
  let row = row_block * 4u;
  let col = (block % blocks - row_block * params.col_blocks) * 4u;
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

  var sums = array<vec4<acc>, 4>(sum0, sum1, sum2, sum3);
  for (var r = 0u; r < 4u && row + r < params.m; r++) {
    for (var c = 0u; c < 4u && col + c < params.n; c++) {
      let i = first[2] + (row + r) * params.y_row + (col + c) * params.y_col;
      store_y(i, finish(sums[r][c], i, row + r, col + c));
    }
  }
}
