// Products of few rows. One workgroup computes 4 * COLS columns of ROWS rows of one of n_matrices:
// its invocations share the elements along k out among STEPS and add their sums up at the end.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1].
var<workgroup> partial: array<vec4<f32>, 256>;

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
  let row = (row_tile - matrix * params.row_tiles) * ROWS;
  let col = ((tile - row_tile * params.col_tiles) * COLS + col_of(lane)) * 4u;
  let step = step_of(lane);
  let first = offsets(matrix);

  var sums: array<vec4<f32>, ROWS>;
  if col < params.n {
    for (var k = step * 4u; k < params.k; k += STEPS * 4u) {
      let b = right4(first[1], k, col);
      for (var r = 0u; r < ROWS; r++) {
        sums[r] += b * left4(first[0], min(row + r, params.m - 1u), k);
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    partial[step * COLS + col_of(lane)] = sums[r];
    workgroupBarrier();
    for (var half = STEPS / 2u; half > 0u; half /= 2u) {
      if step < half {
        let at = step * COLS + col_of(lane);
        partial[at] += partial[at + half * COLS];
      }
      workgroupBarrier();
    }
    if step == 0u && col < params.n && row + r < params.m {
      store_row(first[2], row + r, col, partial[col_of(lane)]);
    }
    workgroupBarrier();
  }
}
