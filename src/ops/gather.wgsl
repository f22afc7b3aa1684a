// x: [outer, size, inner], picks: [n_picks] -> y: [outer, n_picks, inner], in units.
fn element(i: u32) -> unit {
  let pick = i / params.inner;
  let outer = pick / params.n_picks;
  let at = outer * params.size + index(load_picks(pick - outer * params.n_picks), params.size);
  return load_x(at * params.inner + (i - pick * params.inner));
}
