// Weights of the four neighbours for a fraction, with a slope of -0.75.
fn weights(t: f32) -> vec4<f32> {
  let slope = -0.75;
  let far = vec2<f32>(t + 1.0, 2.0 - t);
  let near = vec2<f32>(t, 1.0 - t);
  let outer = ((slope * far - 5.0 * slope) * far + 8.0 * slope) * far - 4.0 * slope;
  let inner = ((slope + 2.0) * near - (slope + 3.0)) * near * near + 1.0;
  return vec4<f32>(outer.x, inner.x, inner.y, outer.y);
}

fn sample(plane: u32, row: f32, col: f32) -> f32 {
  let r = i32(floor(row)) - 1;
  let c = i32(floor(col)) - 1;
  let across = weights(col - floor(col));
  let down = weights(row - floor(row));
  var sum = 0.0;
  for (var k = 0; k < 4; k++) {
    let taps = vec4<f32>(
      tap(plane, r + k, c), tap(plane, r + k, c + 1), tap(plane, r + k, c + 2), tap(plane, r + k, c + 3),
    );
    sum += down[k] * dot(across, taps);
  }
  return sum;
}
