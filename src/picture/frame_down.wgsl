// y = (sum over the taps of a row of weight * narrowed) * factor + shift; outside of the rectangle
// of n_columns x n_rows at (left, top), fill in the place of the sum.
// narrowed: [.., n_columns, CHANNELS] from source row first_row on; y: channels of height x width.
// table: see `fn table`; its rows for the rows of y begin at first_tap.
fn element(i: u32) -> y_value {
  let at = place(i);
  let factor = bitcast<f32>(table[3u * at.channel]);
  let shift = bitcast<f32>(table[3u * at.channel + 1u]);
  // To the left of the rectangle and above it, the difference wraps round to a large number.
  let column = at.column - params.left;
  let row = at.row - params.top;
  if column >= params.n_columns || row >= params.n_rows {
    let fill = bitcast<f32>(table[3u * at.channel + 2u]);
    return rounded(fill * factor + shift);
  }
  let tap = params.first_tap + 3u * row;
  let count = table[tap + 1u];
  let weights = table[tap + 2u];
  let start = table[tap] - params.first_row;
  var sum = 0.0;
  for (var k = 0u; k < count; k++) {
    let value = load_narrowed(((start + k) * params.n_columns + column) * CHANNELS + at.channel);
    sum += value * bitcast<f32>(table[weights + k]);
  }
  return rounded(sum * factor + shift);
}

struct Place { channel: u32, row: u32, column: u32 }
