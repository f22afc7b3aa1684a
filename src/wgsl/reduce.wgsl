// Reductions over a workgroup of WORKGROUP invocations, a power of two. Every invocation calls
// them, and every one gets the result. Subgroups are not needed.
var<workgroup> partial: array<f32, WORKGROUP>;

fn group_max(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if lane < half { partial[lane] = max(partial[lane], partial[lane + half]); }
    workgroupBarrier();
  }
  // A uniform load has a barrier of its own, so the next reduction may overwrite what is read.
  return workgroupUniformLoad(&partial[0]);
}

fn group_sum(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if lane < half { partial[lane] += partial[lane + half]; }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&partial[0]);
}
