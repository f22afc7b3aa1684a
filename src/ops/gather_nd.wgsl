// x: [batch, batch_size, rest], picks: [batch, n_picks, depth] -> y: [batch, n_picks, rest], in
// units.
fn element(i: u32) -> unit {
  let pick = i / params.rest;
  let batch = pick / params.n_picks;
  let at = batch * params.batch_size + nd_index(pick);
  return load_x(at * params.rest + (i - pick * params.rest));
}
