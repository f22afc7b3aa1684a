// y: [batch * heads, longest, inner], updates: [batch * heads, n_steps, inner], picks: [batch], in
// units. A line is one place of inner for one head; behind the longest comes the first again.
fn source_of(line: u32, step: u32) -> u32 {
  let head = line / params.inner;
  return (head * params.n_steps + step) * params.inner + (line - head * params.inner);
}

fn target_of(line: u32, step: u32) -> u32 {
  let head = line / params.inner;
  let at = (first(head / params.heads) + step) % params.longest;
  return (head * params.longest + at) * params.inner + (line - head * params.inner);
}
