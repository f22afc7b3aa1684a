// Transposes matrices of [rows, cols] as copy_tiles does, without workgroup memory: an invocation
// moves a block of four by four. All numbers are in vectors of four.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if i >= params.n_blocks { return; }
  let line = i / params.cols;
  let col = i32(i - line * params.cols);
  let matrix = line / params.rows;
  let row = i32(line - matrix * params.rows);
  let at = place(matrix);

  let from_row = at.x + row + 4 * col * params.x_stride;
  let a = load_x(u32(from_row));
  let b = load_x(u32(from_row + params.x_stride));
  let c = load_x(u32(from_row + 2 * params.x_stride));
  let d = load_x(u32(from_row + 3 * params.x_stride));
  let to_col = at.y + col + 4 * row * params.y_stride;
  store_y(u32(to_col), vec4<y_value>(a.x, b.x, c.x, d.x));
  store_y(u32(to_col + params.y_stride), vec4<y_value>(a.y, b.y, c.y, d.y));
  store_y(u32(to_col + 2 * params.y_stride), vec4<y_value>(a.z, b.z, c.z, d.z));
  store_y(u32(to_col + 3 * params.y_stride), vec4<y_value>(a.w, b.w, c.w, d.w));
}
