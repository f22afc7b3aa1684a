// A pixel of the region that is cut out: between the four nearest pixel centres of the frame, in
// whole numbers.
fn pixel(column: u32, row: u32) -> vec4<f32> {
  let across = vec2<f32>(params.across_x, params.across_y);
  let down = vec2<f32>(params.down_x, params.down_y);
  let point = vec2<f32>(params.origin_x, params.origin_y) + f32(column) * across + f32(row) * down;
  let last = vec2<u32>(params.last_column, params.last_row);
  let position = clamp(point - 0.5, vec2<f32>(0.0), vec2<f32>(last));
  let first = vec2<u32>(position);
  let second = min(first + 1u, last);
  let along = position - vec2<f32>(first);
  let above = mix(texel(first.x, first.y), texel(second.x, first.y), along.x);
  let below = mix(texel(first.x, second.y), texel(second.x, second.y), along.x);
  return floor(mix(above, below, along.y) + 0.5);
}
