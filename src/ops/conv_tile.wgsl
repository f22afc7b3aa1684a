// A convolution as a product of matrices, in tiles that workgroups share: w as [features, terms]
// times the windows of x as [terms, places]. Each invocation computes four features at twice four
// places. x: [groups of all batches, channels, x1, x2]; w: [groups, terms, fours] in vectors of four
// features; taps: [terms], how far a term is from the first of its window, and its row and column
// there; y: [groups of all batches, features, y1, y2].
// A workgroup has HEIGHT * WIDTH invocations and a tile of 4 * HEIGHT features and 8 * WIDTH places.
// Grid: [ceil(y1 * y2 / (8 * WIDTH)), ceil(features / (4 * HEIGHT)), groups of all batches].
const DEPTH = 16u;
const QUADS = 2u * WIDTH;

var<workgroup> w_tile: array<vec4<acc>, DEPTH * HEIGHT>;
var<workgroup> x_tile: array<vec4<acc>, DEPTH * QUADS>;

fn x_or_zero(at: u32, inside: bool) -> acc {
  if inside { return x_at(at); }
  return acc();
}

// Four features from m on at one place.
fn put(sums: vec4<acc>, group: u32, m: u32, place: u32) {
  let n_places = params.y1 * params.y2;
  if place >= n_places { return; }
  let feature = group % params.groups * params.features + m;
  let at = (group * params.features + m) * n_places + place;
  if m < params.features { store_y(at, finish(sums.x, feature, at)); }
  if m + 1u < params.features { store_y(at + n_places, finish(sums.y, feature + 1u, at + n_places)); }
  if m + 2u < params.features { store_y(at + 2u * n_places, finish(sums.z, feature + 2u, at + 2u * n_places)); }
  if m + 3u < params.features { store_y(at + 3u * n_places, finish(sums.w, feature + 3u, at + 3u * n_places)); }
}

@compute @workgroup_size(HEIGHT * WIDTH)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = workgroup.z;
  let n_places = params.y1 * params.y2;
  let first_four = workgroup.y * HEIGHT;
  let first_place = workgroup.x * 4u * QUADS;

  // Of the windows whose elements this invocation loads: where they begin. Places before the
  // beginning of x wrap around to numbers beyond every size, and so do those behind the last.
  let quad = lane % QUADS;
  let place = first_place + 4u * quad + vec4<u32>(0u, 1u, 2u, 3u);
  let row = select(
    place / params.y2 * params.stride1 - params.before1,
    vec4<u32>(0x80000000u),
    place >= vec4<u32>(n_places),
  );
  let col = place % params.y2 * params.stride2 - params.before2;
  let start = group * params.channels * params.x1 * params.x2 + row * params.x2 + col;

  let y = lane / WIDTH;
  let x = lane % WIDTH;
  var a0 = vec4<acc>(); var b0 = vec4<acc>();
  var a1 = vec4<acc>(); var b1 = vec4<acc>();
  var a2 = vec4<acc>(); var b2 = vec4<acc>();
  var a3 = vec4<acc>(); var b3 = vec4<acc>();
  for (var first_term = 0u; first_term < params.terms; first_term += DEPTH) {
    for (var item = lane; item < DEPTH * HEIGHT; item += HEIGHT * WIDTH) {
      let term = first_term + item / HEIGHT;
      let four = first_four + item % HEIGHT;
      var value = vec4<acc>();
      if term < params.terms && four < params.fours {
        value = load_w((group % params.groups * params.terms + term) * params.fours + four);
      }
      w_tile[item] = value;
    }
    for (var item = lane; item < DEPTH * QUADS; item += HEIGHT * WIDTH) {
      let term = first_term + item / QUADS;
      var value = vec4<acc>();
      if term < params.terms {
        let tap = taps[term];
        let at = start + tap.x;
        let inside = row + (tap.y >> 16u) < vec4<u32>(params.x1)
          & col + (tap.y & 0xffffu) < vec4<u32>(params.x2);
        value = vec4<acc>(
          x_or_zero(at.x, inside.x), x_or_zero(at.y, inside.y),
          x_or_zero(at.z, inside.z), x_or_zero(at.w, inside.w),
        );
      }
      x_tile[item] = value;
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let w = w_tile[k * HEIGHT + y];
      let xa = x_tile[k * QUADS + x];
      let xb = x_tile[k * QUADS + WIDTH + x];
      a0 += w * xa.x; a1 += w * xa.y; a2 += w * xa.z; a3 += w * xa.w;
      b0 += w * xb.x; b1 += w * xb.y; b2 += w * xb.z; b3 += w * xb.w;
    }
    workgroupBarrier();
  }

  let m = 4u * (first_four + y);
  let near = first_place + 4u * x;
  let far = near + 4u * WIDTH;
  put(a0, group, m, near); put(b0, group, m, far);
  put(a1, group, m, near + 1u); put(b1, group, m, far + 1u);
  put(a2, group, m, near + 2u); put(b2, group, m, far + 2u);
  put(a3, group, m, near + 3u); put(b3, group, m, far + 3u);
}
