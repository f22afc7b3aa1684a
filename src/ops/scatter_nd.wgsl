// x, y: [picked axes, rest], picks: [n_steps, depth], updates: [n_steps, rest = n_lines], in units.
fn source_of(line: u32, step: u32) -> u32 {
  return step * params.n_lines + line;
}

fn target_of(line: u32, step: u32) -> u32 {
  return nd_index(step) * params.n_lines + line;
}
