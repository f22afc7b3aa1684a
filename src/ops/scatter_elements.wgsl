// A line leads along the axis of the updates; offsets(line) is where it begins in y and in them.
fn source_of(line: u32, step: u32) -> u32 {
  return offsets(line)[1] + step * params.updates_stride;
}

fn target_of(line: u32, step: u32) -> u32 {
  let at = offsets(line);
  let number = load_picks(at[1] + step * params.updates_stride);
  return at[0] + index(number, params.size) * params.y_stride;
}
