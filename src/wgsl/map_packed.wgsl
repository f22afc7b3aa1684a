// y[i] = element(i) for each of n_elems elements, four to a word and one invocation for each word.
// Grid: [min(groups, 65535), ceil(groups / 65535), 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let word = (group.y * groups.x + group.x) * 64u + lane;
  let i = word * 4u;
  if i >= params.n_elems { return; }
  // Elements behind the end repeat the last one: nobody reads them.
  let last = params.n_elems - 1u;
  store_y(word, vec4<y_value>(
    element(i), element(min(i + 1u, last)), element(min(i + 2u, last)), element(min(i + 3u, last)),
  ));
}
