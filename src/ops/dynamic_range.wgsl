// The range of x with 0 in it, as each of params.step invocations finds it in elements that far apart.
// range: [step, 2], the least and the largest. Grid: [step / 64, 1, 1].
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  var low = 0.0;
  var high = 0.0;
  for (var i = id.x; i < params.n_elems; i += params.step) {
    let x = load_x(i);
    low = min(low, x);
    high = max(high, x);
  }
  store_range(id.x * 2u, low);
  store_range(id.x * 2u + 1u, high);
}
