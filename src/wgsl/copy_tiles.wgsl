// Transposes matrices of [rows, cols]: x lies side by side along rows, y along columns. A workgroup
// moves a tile of 32 by 32, so that both are read and written side by side; place(i) is where
// matrix i begins in x and in y.
// Grid: [min(n_tiles, 65535), ceil(n_tiles / 65535), 1].

// A column more than there are keeps neighbours along either axis in different banks.
var<workgroup> tile: array<array<x_value, 33>, 32>;

@compute @workgroup_size(32, 8)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_id) lane: vec3<u32>,
) {
  let number = group.y * groups.x + group.x;
  if number >= params.n_tiles { return; }
  let tiles = params.down * params.across;
  let matrix = number / tiles;
  let tile_idx = number - matrix * tiles;
  let first_row = tile_idx / params.across * 32u;
  let first_col = tile_idx % params.across * 32u;
  let at = place(matrix);

  let row = first_row + lane.x;
  for (var c = lane.y; c < 32u; c += 8u) {
    let col = first_col + c;
    if row < params.rows && col < params.cols {
      tile[c][lane.x] = load_x(u32(at.x + i32(row) + i32(col) * params.x_stride));
    }
  }
  workgroupBarrier();
  let col = first_col + lane.x;
  for (var r = lane.y; r < 32u; r += 8u) {
    let row = first_row + r;
    if row < params.rows && col < params.cols {
      store_y(u32(at.y + i32(row) * params.y_stride + i32(col)), tile[lane.x][r]);
    }
  }
}
