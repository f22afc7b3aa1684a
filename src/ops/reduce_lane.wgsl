// Reductions, one invocation for each row: element i of y folds the `count` elements of x that
// begin at kept_offsets(i) and lie at reduced_offsets from there.
fn element(i: u32) -> y_value {
  let first = kept_offsets(i)[0];
  let shift = shift_from(first);
  let x = prepare(acc(load_x(first)), shift);
  var total = fold(start(x), x);
  for (var r = 1u; r < params.count; r++) {
    total = fold(total, prepare(acc(load_x(first + reduced_offsets(r)[0])), shift));
  }
  return complete(total, shift);
}
