// Four neighbours, of which most lie in x as they do in y.
fn four(i: u32) -> vec4<y_value> {
  let row = i / padded_cols();
  let col = i32(i - row * padded_cols()) - col_before();
  let start = row_start(row);
  if start >= 0 && col >= 0 && col + 4 <= x_cols() {
    let at = u32(start + col);
    return vec4<y_value>(load_x(at), load_x(at + 1u), load_x(at + 2u), load_x(at + 3u));
  }
  var values = vec4<y_value>();
  for (var k = 0u; k < 4u; k++) { values[k] = at_place(min(i + k, params.last)); }
  return values;
}
