// y and picks have one shape; the pick replaces the place along one axis of x.
fn element(i: u32) -> y_value {
  return load_x(offsets(i)[0] + index(load_picks(i), params.size) * params.axis_stride);
}
