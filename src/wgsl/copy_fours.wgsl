// Four neighbours of y, from wherever they are in x: params.x_step apart while a run lasts.
fn four(i: u32) -> vec4<y_value> {
  let at = place(i);
  if at.z >= 4 {
    let picks = vec4<u32>(at.x + params.x_step * vec4<i32>(0, 1, 2, 3));
    return vec4<y_value>(load_x(picks.x), load_x(picks.y), load_x(picks.z), load_x(picks.w));
  }
  let next = min(vec3<u32>(i) + vec3<u32>(1u, 2u, 3u), vec3<u32>(params.last));
  return vec4<y_value>(
    load_x(u32(at.x)), load_x(u32(place(next.x).x)), load_x(u32(place(next.y).x)), load_x(u32(place(next.z).x)),
  );
}
