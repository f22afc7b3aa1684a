// Matrix products by tiles. One workgroup computes 16 * ROWS rows and 64 columns of one of
// n_matrices, 16 steps along k at a time; one invocation ROWS rows, 16 apart, and 4 columns.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1].
var<workgroup> a_tile: array<vec4<f32>, ROWS * 64u>; // [16 * ROWS, 4], four steps each
var<workgroup> b_tile: array<vec4<f32>, 256>; // [16, 16], four columns each

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let tile = group.y * groups.x + group.x;
  let row_tile = tile / params.col_tiles;
  let matrix = row_tile / params.row_tiles;
  if matrix >= params.n_matrices { return; }
  let row = (row_tile - matrix * params.row_tiles) * 16u * ROWS;
  let col = (tile - row_tile * params.col_tiles) * 64u;
  let first = offsets(matrix);
  let own_row = lane / 16u;
  let own_col = lane % 16u;

  var sums: array<vec4<f32>, ROWS>;
  for (var k = 0u; k < params.k; k += 16u) {
    // Rows behind the end repeat the last one and are not stored; steps behind it are 0.
    for (var i = lane; i < ROWS * 64u; i += 256u) {
      let step = k + i % 4u * 4u;
      var a = vec4<f32>();
      if step < params.k { a = left4(first[0], min(row + i / 4u, params.m - 1u), step); }
      a_tile[i] = a;
    }
    var b = vec4<f32>();
    if k + own_row < params.k && col + own_col * 4u < params.n {
      b = right_row(first[1], k + own_row, col + own_col * 4u);
    }
    b_tile[lane] = b;
    workgroupBarrier();
    for (var step = 0u; step < 4u; step++) {
      let at = step * 64u + own_col;
      let block = mat4x4<f32>(b_tile[at], b_tile[at + 16u], b_tile[at + 32u], b_tile[at + 48u]);
      for (var r = 0u; r < ROWS; r++) {
        sums[r] += block * a_tile[(own_row + r * 16u) * 4u + step];
      }
    }
    workgroupBarrier();
  }

  let y_col = col + own_col * 4u;
  if y_col >= params.n { return; }
  for (var r = 0u; r < ROWS; r++) {
    let y_row = row + own_row + r * 16u;
    if y_row < params.m { store_row(first[2], y_row, y_col, sums[r]); }
  }
}
