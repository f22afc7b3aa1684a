//! Kernels of normalisations with parameters per channel.

use crate::kernel::{Call, Dispatch, Kernel, Map, Refusal, Storage, grid};

/// Factor and summand of each channel from x, scale, bias, mean and variance.
const FACTORS: &str = "fn element(i: u32) -> f32 {
  let c = i / 2u;
  let factor = load_scale(c) / sqrt(load_variance(c) + params.epsilon);
  return select(factor, load_bias(c) - load_mean(c) * factor, i % 2u == 1u);
}";

/// Inputs: x: [n, c, d..], then scale, bias, mean and variance: [c].
pub(super) fn batch(call: &Call, epsilon: f32) -> Result<Dispatch, Refusal> {
    let sizes = call.sizes(0);
    let channels: usize = call.sizes(1).iter().product();
    let inner: usize = sizes.iter().skip(2).product();
    let n_elems: usize = sizes.iter().product();
    let (x, y) = (call.input(0)?, call.output(0)?);
    let mut dispatch = Dispatch::default();
    // The factors follow from constants as a rule, and are then computed once.
    let factors = dispatch.add_scratch(Storage::F32, 2 * channels);
    let kernel = Map::kernel("batch_norm_factors", FACTORS)
        .param_f32("epsilon", epsilon)
        .read("scale", call.input(1)?)
        .read("bias", call.input(2)?)
        .read("mean", call.input(3)?)
        .read("variance", call.input(4)?);
    let launch = Map::launch(kernel, factors, 2 * channels, call.caps);
    dispatch.launches.push(launch);

    let by_fours = inner.is_multiple_of(4);
    let (width, real) = if by_fours {
        (4, "vec4<f32>")
    } else {
        (1, "f32")
    };
    let body = format!(
        "fn element(i: u32) -> {real} {{
  let factor = factors[i / params.inner % params.channels];
  return load_x(i) * factor.x + factor.y;
}}"
    );
    let kernel = Map::kernel("batch_norm", &body)
        .param("inner", inner / width)
        .param("channels", channels)
        .read_vec2("factors", factors);
    let launch = if by_fours {
        Map::launch_vec4(kernel.read_vec4("x", x), y, n_elems, call.caps)
    } else {
        Map::launch(kernel.read("x", x), y, n_elems, call.caps)
    };
    dispatch.launches.push(launch);
    Ok(dispatch)
}

/// Over the elements of each group of channels. Inputs: x: [n, c, d..], scale, bias: [c] or
/// [groups]; `n_groups` is the number of channels where each is its own.
pub(super) fn groups(call: &Call, n_groups: usize, epsilon: f32) -> Result<Dispatch, Refusal> {
    let sizes = call.sizes(0);
    let rows = sizes[0] * n_groups;
    let inner: usize = sizes[2..].iter().product();
    let n_channels = sizes[1] / n_groups.max(1);
    let cols = n_channels * inner;
    let by_group = !call.caps.software && cols >= 32;
    let (name, body) = if by_group {
        ("norm_groups_group", include_str!("norm_layer_group.wgsl"))
    } else {
        ("norm_groups_lane", include_str!("norm_layer_lane.wgsl"))
    };
    let channel = if call.sizes(1)[0] == sizes[1] {
        "row % params.n_groups * params.n_channels + c / params.inner"
    } else {
        "row % params.n_groups"
    };
    let kernel = Kernel::new(name, body)
        .param("rows", rows)
        .param("cols", cols)
        .param("inner", inner)
        .param("n_groups", n_groups)
        .param("n_channels", n_channels)
        .param_f32("epsilon", epsilon)
        .read("x", call.input(0)?)
        .read("scale", call.input(1)?)
        .read("bias", call.input(2)?)
        .write("y", call.output(0)?)
        .snippet(&format!(
            "fn value(row: u32, c: u32) -> f32 {{ return load_x(row * params.cols + c); }}
fn centre(mean: f32) -> f32 {{ return mean; }}
fn scaled(x: f32, row: u32, c: u32) -> f32 {{
  let channel = {channel};
  return x * load_scale(channel) + load_bias(channel);
}}
fn keep_sum(row: u32, c: u32, x: f32) {{}}
fn keep_stats(row: u32, of_mean: f32, of_inverse: f32) {{}}"
        ));
    Ok(Dispatch::one(if by_group {
        kernel
            .constant("WORKGROUP", 64)
            .snippet(include_str!("../wgsl/reduce.wgsl"))
            .launch(grid(rows, call.caps))
    } else {
        kernel.launch(grid(rows.div_ceil(64), call.caps))
    }))
}
