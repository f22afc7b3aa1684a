// x: [.., x_cols] -> y: [.., padded_cols], in units. row_start(row) is where a row of y begins in
// x, or -1 where it is all padding; inside(at, size) is the place that stands for one outside, and
// fill() what stands where there is none.
fn at_place(i: u32) -> unit {
  let row = i / padded_cols();
  let col = inside(i32(i - row * padded_cols()) - col_before(), x_cols());
  let start = row_start(row);
  let is_x = start >= 0 && col >= 0 && col < x_cols();
  return select(fill(), load_x(u32(select(0, start + col, is_x))), is_x);
}
