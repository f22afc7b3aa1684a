// One window of a pool over up to three spatial axes. x: [planes, x0, x1, x2], y: [planes, y0, y1, y2].
// The kind of pool brings `State`, `fold` for each element that is no padding, given its value, its
// number in x and how many came before it, and `result`, given the first place of the window.
fn element(i: u32) -> y_value {
  let o2 = i % params.y2;
  var rest = i / params.y2;
  let o1 = rest % params.y1;
  rest /= params.y1;
  let o0 = rest % params.y0;
  let plane = rest / params.y0;

  let first = vec3<u32>(o0 * params.stride0, o1 * params.stride1, o2 * params.stride2);
  var state: State;
  var n_seen = 0u;
  // Places before the beginning wrap around to numbers beyond every size.
  for (var k0 = 0u; k0 < params.kernel0; k0++) {
    let i0 = first.x + k0 * params.dilation0 - params.before0;
    if i0 >= params.x0 { continue; }
    for (var k1 = 0u; k1 < params.kernel1; k1++) {
      let i1 = first.y + k1 * params.dilation1 - params.before1;
      if i1 >= params.x1 { continue; }
      for (var k2 = 0u; k2 < params.kernel2; k2++) {
        let i2 = first.z + k2 * params.dilation2 - params.before2;
        if i2 >= params.x2 { continue; }
        let at = ((plane * params.x0 + i0) * params.x1 + i1) * params.x2 + i2;
        state = fold(state, load_x(at), at, n_seen);
        n_seen++;
      }
    }
  }
  return result(state, first, n_seen);
}
