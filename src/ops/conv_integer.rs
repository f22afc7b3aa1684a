//! Kernels of convolutions over quantised elements: sums of products in i32, and what they are in the
//! scale of the output.

use super::conv_kernels::Geometry;
use crate::kernel::{Call, Dispatch, Kernel, Launch, Map, Port, Refusal, Storage};

/// Numbers of the inputs that sums are made of.
struct Inputs {
    w: usize,
    x_zero: usize,
    w_zero: usize,
    bias: usize,
}

/// Inputs: x, w, and the zero points of both.
pub(super) fn integer(call: &Call, geometry: &Geometry) -> Result<Dispatch, Refusal> {
    let inputs = Inputs {
        w: 1,
        x_zero: 2,
        w_zero: 3,
        bias: usize::MAX,
    };
    let launch = sums(call, geometry, &inputs, call.output(0)?)?;
    Ok(Dispatch::one(launch))
}

/// Inputs: x, w and y, each with its scale and zero point, and a bias.
pub(super) fn quantised(call: &Call, geometry: &Geometry) -> Result<Dispatch, Refusal> {
    let inputs = Inputs {
        w: 3,
        x_zero: 2,
        w_zero: 5,
        bias: 8,
    };
    let n_elems = call.output_sizes(0).iter().product();
    let y = call.output(0)?;
    let (low, high) = match y.storage {
        Storage::I8 => (-128, 127),
        Storage::U8 => (0, 255),
        _ => return Err("its output is not of bytes".into()),
    };
    let mut dispatch = Dispatch::default();
    let of_sums = dispatch.add_scratch(Storage::I32, n_elems);
    let launch = sums(call, geometry, &inputs, of_sums)?;
    dispatch.launches.push(launch);
    let feature = feature_of(call, 4);
    let body = format!(
        "fn element(i: u32) -> y_value {{
  let m = i / params.n_places % params.n_features;
  let scale = load_x_scale(0u) * load_w_scale({feature}) / load_y_scale(0u);
  // Far beyond what bytes hold, and within what i32 holds.
  let rounded = clamp(round(f32(load_sums(i)) * scale), -1e6, 1e6);
  return y_value(clamp(i32(rounded) + i32(load_y_zero(0u)), {low}, {high}));
}}"
    );
    let kernel = Map::kernel("conv_requantise", &body)
        .param("n_places", geometry.n_places())
        .param("n_features", geometry.groups * geometry.features)
        .read("sums", of_sums)
        .read("x_scale", call.input(1)?)
        .read("w_scale", call.input(4)?)
        .read("y_scale", call.input(6)?)
        .read("y_zero", call.input(7)?);
    let launch = Map::launch(kernel, y, n_elems, call.caps);
    dispatch.launches.push(launch);
    Ok(dispatch)
}

fn sums(call: &Call, geometry: &Geometry, inputs: &Inputs, y: Port) -> Result<Launch, Refusal> {
    let kernel = Map::kernel("conv_integer", include_str!("conv_direct.wgsl"));
    let mut kernel = geometry
        .declare(kernel)
        .read("x", call.input(0)?)
        .read("w", call.input(inputs.w)?);
    let mut x = "i32(load_x(at))".to_owned();
    if call.has_input(inputs.x_zero) {
        kernel = kernel.read("x_zero", call.input(inputs.x_zero)?);
        x.push_str(" - i32(load_x_zero(0u))");
    }
    let mut w = "i32(load_w(weight))".to_owned();
    if call.has_input(inputs.w_zero) {
        kernel = kernel.read("w_zero", call.input(inputs.w_zero)?);
        let feature = feature_of(call, inputs.w_zero);
        w.push_str(&format!(" - i32(load_w_zero({feature}))"));
    }
    let mut sum = "sum".to_owned();
    if call.has_input(inputs.bias) {
        kernel = kernel.read("bias", call.input(inputs.bias)?);
        sum.push_str(" + load_bias(m)");
    }
    let n_elems = call.output_sizes(0).iter().product();
    Ok(Map::launch(
        functions(kernel, &x, &w, &sum),
        y,
        n_elems,
        call.caps,
    ))
}

fn functions(kernel: Kernel, x: &str, w: &str, sum: &str) -> Kernel {
    kernel.snippet(&format!(
        "fn product(at: u32, weight: u32, m: u32) -> i32 {{ return ({x}) * ({w}); }}
fn finish(sum: i32, m: u32, i: u32) -> i32 {{ return {sum}; }}"
    ))
}

/// Where the number for feature `m` is among those of an input: one for all, or one for each.
fn feature_of(call: &Call, idx: usize) -> &'static str {
    if call.sizes(idx).iter().product::<usize>() == 1 {
        "0u"
    } else {
        "m"
    }
}
