//! Kernels of convolutions over quantised elements: sums of products in i32, and what they are in the
//! scale of the output.

use super::conv_kernels::{Geometry, dispatch_sums};
use super::conv_sums::{Epilogue, Terms};
use crate::kernel::{Call, Dispatch, Map, Port, Refusal, Storage};

/// Inputs: x, w, and the zero points of both.
pub(super) fn integer(call: &Call, geometry: Geometry) -> Result<Dispatch, Refusal> {
    let terms = terms(call, 1, 2, 3)?;
    let dispatch = Dispatch::default();
    Ok(sums(dispatch, call, geometry, terms, call.output(0)?))
}

/// Inputs: x, w and y, each with its scale and zero point, and a bias.
pub(super) fn quantised(call: &Call, geometry: Geometry) -> Result<Dispatch, Refusal> {
    let n_elems = call.output_sizes(0).iter().product();
    let y = call.output(0)?;
    let (low, high) = match y.storage {
        Storage::I8 => (-128, 127),
        Storage::U8 => (0, 255),
        _ => return Err("its output is not of bytes".into()),
    };
    let mut terms = terms(call, 3, 2, 5)?;
    terms.bias = call.has_input(8).then(|| call.input(8)).transpose()?;
    let n_places = geometry.n_places();
    let n_features = geometry.groups * geometry.features;
    let mut dispatch = Dispatch::default();
    let of_sums = dispatch.add_scratch(Storage::I32, n_elems);
    let mut dispatch = sums(dispatch, call, geometry, terms, of_sums);
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
        .param("n_places", n_places)
        .param("n_features", n_features)
        .read("sums", of_sums)
        .read("x_scale", call.input(1)?)
        .read("w_scale", call.input(4)?)
        .read("y_scale", call.input(6)?)
        .read("y_zero", call.input(7)?);
    let launch = Map::launch(kernel, y, n_elems, call.caps);
    dispatch.launches.push(launch);
    Ok(dispatch)
}

/// The operands that are inputs of these numbers.
fn terms(call: &Call, w: usize, x_zero: usize, w_zero: usize) -> Result<Terms, Refusal> {
    let optional = |idx| call.has_input(idx).then(|| call.input(idx)).transpose();
    Ok(Terms {
        x: call.input(0)?,
        x_zero: optional(x_zero)?,
        w: call.input(w)?,
        w_zero: optional(w_zero)?.map(|zero| (zero, feature_of(call, w_zero))),
        bias: None,
    })
}

fn sums(dispatch: Dispatch, call: &Call, geometry: Geometry, terms: Terms, y: Port) -> Dispatch {
    let epilogue = Epilogue {
        z: None,
        activation: None,
        line: None,
    };
    dispatch_sums(dispatch, call.caps, geometry, terms, epilogue, y)
}

/// Where the number for feature `m` is among those of an input: one for all, or one for each.
fn feature_of(call: &Call, idx: usize) -> &'static str {
    if call.sizes(idx).iter().product::<usize>() == 1 {
        "0u"
    } else {
        "m"
    }
}
