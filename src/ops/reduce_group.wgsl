// Reductions, one workgroup for each row: element i of y folds the `count` elements of x that
// begin at kept_offsets(i) and lie at reduced_offsets from there.
// Grid: [min(rows, 65535), ceil(rows / 65535), 1].
var<workgroup> partial: array<acc, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if row >= params.rows { return; }
  let first = kept_offsets(row)[0];

  let own = min(lane, params.count - 1u);
  var total = start(prepare(acc(load_x(first + reduced_offsets(own)[0])), acc()));
  for (var r = lane; r < params.count; r += WORKGROUP) {
    total = fold(total, prepare(acc(load_x(first + reduced_offsets(r)[0])), acc()));
  }
  partial[lane] = total;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if lane < half { partial[lane] = fold(partial[lane], partial[lane + half]); }
    workgroupBarrier();
  }
  if lane == 0u { store_y(row, complete(partial[0], acc())); }
}
