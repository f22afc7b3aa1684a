// Copies up to 1024 words from the parameters to y, from params.first on.
// Grid: [16, 1, 1] of workgroups of 64.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  if i < params.n { y[params.first + i] = params.words[i / 4u][i % 4u]; }
}
