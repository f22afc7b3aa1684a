// x: [n, channels, rows, cols], regions: [k, 4] of (left, top, right, bottom), picks: [k]
// -> y: [k, channels, height, width], each from samples spread over its share of the region.
fn element(i: u32) -> y_value {
  let line = i / params.width;
  let plane = line / params.height;
  let region = plane / params.channels;
  let bin = vec2<f32>(f32(i - line * params.width), f32(line - plane * params.height));
  let channel = plane - region * params.channels;
  let picture = min(u32(max(load_picks(region), 0)), params.last_picture);
  let x_plane = picture * params.channels + channel;

  let first = corner(4u * region);
  let size = max(corner(4u * region + 2u) - first, vec2<f32>(params.min_size));
  let bin_size = size / vec2<f32>(f32(params.width), f32(params.height));
  var n_samples = vec2<i32>(i32(params.sampling_ratio));
  if params.sampling_ratio == 0u {
    // A region of any use is not larger than some pictures.
    n_samples = vec2<i32>(clamp(ceil(bin_size), vec2<f32>(0.0), vec2<f32>(4096.0)));
  }
  let step = bin_size / max(vec2<f32>(n_samples), vec2<f32>(1.0));
  var sum = 0.0;
  for (var r = 0; r < n_samples.y; r++) {
    for (var c = 0; c < n_samples.x; c++) {
      let value = sample(x_plane, first + bin * bin_size + (vec2<f32>(f32(c), f32(r)) + 0.5) * step);
      if r == 0 && c == 0 { sum = value; } else { sum = joined(sum, value); }
    }
  }
  return sum / share(f32(max(n_samples.x * n_samples.y, 1)));
}

// (along cols, along rows) in elements.
fn corner(at: u32) -> vec2<f32> {
  return vec2<f32>(load_regions(at), load_regions(at + 1u)) * params.scale - params.offset;
}

fn sample(x_plane: u32, at: vec2<f32>) -> f32 {
  let size = vec2<f32>(f32(params.cols), f32(params.rows));
  if any(at < vec2<f32>(-1.0)) || any(at > size) { return 0.0; }
  let inside = clamp(at, vec2<f32>(0.0), size - 1.0);
  let low = vec2<u32>(inside);
  let high = min(low + 1u, vec2<u32>(params.cols - 1u, params.rows - 1u));
  let far = inside - vec2<f32>(low);
  let near = 1.0 - far;
  let above = (x_plane * params.rows + low.y) * params.cols;
  let below = (x_plane * params.rows + high.y) * params.cols;
  return of_taps(vec4<f32>(
    near.y * near.x * load_x(above + low.x), near.y * far.x * load_x(above + high.x),
    far.y * near.x * load_x(below + low.x), far.y * far.x * load_x(below + high.x),
  ));
}
