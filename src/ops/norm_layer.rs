//! The kernel of layer normalisation and its kin: over rows of all that follows an axis,
//! `y = (x - mean) / sqrt(variance + epsilon) * scale + bias`, or by the root mean square without
//! a mean, where x may be a sum `x + skip + x_bias`.

use crate::kernel::{Call, Dispatch, Kernel, Refusal, grid};

/// Numbers are of the node's inputs and outputs; those that the node leaves out count for nothing.
pub(super) struct LayerKernel {
    pub axis: usize,
    pub epsilon: f32,
    /// False for the root mean square.
    pub centred: bool,
    pub skip: Option<usize>,
    pub scale: usize,
    pub bias: Option<usize>,
    pub x_bias: Option<usize>,
    pub mean: Option<usize>,
    /// 1 / deviation.
    pub inverse: Option<usize>,
    /// What was normalised.
    pub sum: Option<usize>,
}

pub(super) fn dispatch(layer: &LayerKernel, call: &Call) -> Result<Dispatch, Refusal> {
    let sizes = call.sizes(0);
    let rows: usize = sizes[..layer.axis].iter().product();
    let cols: usize = sizes[layer.axis..].iter().product();
    let by_group = !call.caps.software && cols >= 32;
    let (name, body) = if by_group {
        ("norm_layer_group", include_str!("norm_layer_group.wgsl"))
    } else {
        ("norm_layer_lane", include_str!("norm_layer_lane.wgsl"))
    };
    let mut kernel = Kernel::new(name, body)
        .param("rows", rows)
        .param("cols", cols)
        .param_f32("epsilon", layer.epsilon)
        .read("x", call.input(0)?);
    let mut sum = String::from("load_x(row * params.cols + c)");
    if let Some(skip) = layer.skip {
        let n_elems: usize = call.sizes(skip).iter().product();
        if cols == 0 || !n_elems.is_multiple_of(cols) || !sizes.ends_with(tail(&call.sizes(skip))) {
            return Err("skip is not a part of x".into());
        }
        kernel = kernel
            .param("skip_rows", n_elems / cols)
            .read("skip", call.input(skip)?);
        sum.push_str(" + load_skip(row % params.skip_rows * params.cols + c)");
    }
    let given = |idx: Option<usize>| idx.filter(|&idx| call.has_input(idx));
    let asked = |idx: Option<usize>| idx.filter(|&idx| call.has_output(idx));
    let per_column = |kernel: Kernel, name: &str, idx: usize| {
        if call.sizes(idx) != sizes[layer.axis..] {
            return Err(Refusal::from("scale and bias are not of the axes"));
        }
        Ok(kernel.read(name, call.input(idx)?))
    };
    if let Some(idx) = given(layer.x_bias) {
        kernel = per_column(kernel, "x_bias", idx)?;
        sum.push_str(" + load_x_bias(c)");
    }
    kernel = per_column(kernel, "scale", layer.scale)?;
    let mut scaled = String::from("x * load_scale(c)");
    if let Some(idx) = given(layer.bias) {
        kernel = per_column(kernel, "bias", idx)?;
        scaled.push_str(" + load_bias(c)");
    }
    let mut stores = String::new();
    let mut store_sum = String::new();
    kernel = kernel.write("y", call.output(0)?);
    for (name, idx) in [("mean", layer.mean), ("inverse", layer.inverse)] {
        if let Some(idx) = asked(idx) {
            kernel = kernel.write(name, call.output(idx)?);
            stores.push_str(&format!("store_{name}(row, of_{name}); "));
        }
    }
    if let Some(idx) = asked(layer.sum) {
        kernel = kernel.write("sum", call.output(idx)?);
        store_sum.push_str("store_sum(row * params.cols + c, x);");
    }
    let centre = if layer.centred { "mean" } else { "0.0" };
    kernel = kernel.snippet(&format!(
        "fn value(row: u32, c: u32) -> f32 {{ return {sum}; }}
fn scaled(x: f32, row: u32, c: u32) -> f32 {{ return {scaled}; }}
fn centre(mean: f32) -> f32 {{ return {centre}; }}
fn keep_sum(row: u32, c: u32, x: f32) {{ {store_sum} }}
fn keep_stats(row: u32, of_mean: f32, of_inverse: f32) {{ {stores}}}"
    ));
    let launch = if by_group {
        kernel
            .constant("WORKGROUP", 64)
            .snippet(include_str!("../wgsl/reduce.wgsl"))
            .launch(grid(rows, call.caps))
    } else {
        kernel.launch(grid(rows.div_ceil(64), call.caps))
    };
    Ok(Dispatch::one(launch))
}

/// The sizes after leading ones.
fn tail(sizes: &[usize]) -> &[usize] {
    let ones = sizes.iter().take_while(|&&size| size == 1).count();
    &sizes[ones..]
}
