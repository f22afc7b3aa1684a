// narrowed[row, column, ..] = sum over the taps of a column of weight * pixel[first_row + row, tap],
// in the channels of the tensor. narrowed: [n_rows, n_columns, CHANNELS].
// table: see `fn table`.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if i >= params.n_columns * params.n_rows { return; }
  let column = 3u * (CHANNELS + i % params.n_columns);
  let row = params.first_row + i / params.n_columns;
  let start = table[column];
  let count = table[column + 1u];
  let weights = table[column + 2u];
  var sum = vec3<f32>(0.0);
  for (var k = 0u; k < count; k++) {
    let color = pixel(start + k, row);
    let opaque = color.rgb * (color.a / 255.0) + (255.0 - color.a);
    sum += opaque * bitcast<f32>(table[weights + k]);
  }
  var colors = channels(sum);
  for (var channel = 0u; channel < CHANNELS; channel++) {
    store_narrowed(i * CHANNELS + channel, colors[channel]);
  }
}

// A pixel of the frame: red, green, blue and opacity in 0..=255.
fn texel(column: u32, row: u32) -> vec4<f32> {
  return vec4<f32>(load_pixels(row * params.pitch + column));
}
