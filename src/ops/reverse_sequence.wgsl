// Along the time axis, the first lens[batch] places of x in reverse and the others as they are.
fn element(i: u32) -> y_value {
  let time = i32(i / params.time_stride % params.n_times);
  let batch = i / params.batch_stride % params.n_batches;
  let len = min(i32(load_lens(batch)), i32(params.n_times));
  let moved = select(time, len - 1 - time, time < len);
  return load_x(u32(i32(i) + (moved - time) * i32(params.time_stride)));
}
