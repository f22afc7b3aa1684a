//! Pools: the maximum, the mean or the p-norm over windows that slide along the spatial axes, or
//! over all of them at once; and the way back from maxima to where they were.

use super::pool_kernels::{self, Kind};
use super::window::Window;
use super::{Attrs, Inputs, Op, OpDef, check, reduce_kernel, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "MaxPool",
        max_pool,
        &[
            "input x: f32[n, 3, h, 6]
             y, i = MaxPool(x) {kernel_shape = [2, 2], strides = [2, 2]}
             output y: f32[n, 3, (((h - 2) / 2) + 1), 3]
             output i: i64[n, 3, (((h - 2) / 2) + 1), 3]",
            "input x: u8[1, 1, 4, 4]
             y = MaxPool(x) {kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1}
             output y: u8[1, 1, 2, 2]",
            // The third window of three would start in the padding at the end.
            "input x: f32[1, 1, 2, 2]
             y = MaxPool(x) {kernel_shape = [1, 1], strides = [2, 2], pads = [0, 0, 1, 1], ceil_mode = 1}
             output y: f32[1, 1, 1, 1]",
            "input x: f32[1, 1, 8]
             y = MaxPool(x) {kernel_shape = [3], dilations = [3], auto_pad = \"VALID\"}
             output y: f32[1, 1, 2]",
            "input x: f32[2, 3, 9, 11]
             y = MaxPool(x) {kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]}
             output y: f32[2, 3, 5, 6]",
            "input x: i8[1, 3, 5, 7]
             y, i = MaxPool(x) {kernel_shape = [3, 2], dilations = [2, 1], storage_order = 1}
             output y: i8[1, 3, 1, 6]\n output i: i64[1, 3, 1, 6]",
            "input x: f16[1, 2, 4, 5, 6]
             y = MaxPool(x) {kernel_shape = [2, 2, 2], pads = [1, 0, 1, 0, 0, 1]}
             output y: f16[1, 2, 4, 4, 7]",
            "opset 8\n input x: f32[1, 1, 32, w]
             y = MaxPool(x) {kernel_shape = [2, 2], auto_pad = \"SAME_UPPER\"}
             output y: f32[1, 1, 32, w]",
        ],
    ),
    rules::onnx(
        "AveragePool",
        average_pool,
        &[
            "input x: f32[1, 3, 32, 32]
             y = AveragePool(x) {kernel_shape = [5, 5], strides = [3, 3], pads = [2, 2, 2, 2], count_include_pad = 1}
             output y: f32[1, 3, 11, 11]",
            "input x: f32[1, 2, 10, 9]
             y = AveragePool(x) {kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 0, 1]}
             output y: f32[1, 2, 5, 5]",
            "input x: f32[1, 2, 9, 9]
             y = AveragePool(x) {kernel_shape = [3, 2], strides = [2, 3], ceil_mode = 1, auto_pad = \"SAME_LOWER\"}
             output y: f32[1, 2, 5, 3]",
            "input x: f32[1, 1, 6]
             y = AveragePool(x) {kernel_shape = [3], strides = [2], pads = [1, 0], ceil_mode = 1, count_include_pad = 1}
             output y: f32[1, 1, 3]",
            "opset 18\n input x: f32[1, 1, 7]
             y = AveragePool(x) {kernel_shape = [3], dilations = [2]}
             output y: f32[1, 1, 5]",
        ],
    ),
    rules::onnx(
        "LpPool",
        lp_pool,
        &["input x: f32[1, 1, 4, 4]
           y = LpPool(x) {kernel_shape = [2, 2], dilations = [2, 2]}
           output y: f32[1, 1, 2, 2]",
           "input x: f32[1, 3, 7, 6]
           y = LpPool(x) {kernel_shape = [3, 2], strides = [2, 2], p = 3}
           output y: f32[1, 3, 3, 3]"],
    ),
    check::microsoft("QLinearAveragePool", qlinear_average_pool, &["opset com.microsoft 1
             input x: u8[1, 4, 4, 3]\n input s: f32[]\n input z: u8[]
             y = com.microsoft::QLinearAveragePool(x, s, z, s, z) {kernel_shape = [2, 2], channels_last = 1}
             output y: u8[1, 3, 3, 3]"]),
    rules::onnx(
        "GlobalAveragePool",
        global_average,
        &[
            "input x: f32[n, c, h, w]\n y = GlobalAveragePool(x)\n output y: f32[n, c, 1, 1]",
            "input x: f16\n y = GlobalAveragePool(x)\n output y: f16",
        ],
    ),
    rules::onnx(
        "GlobalMaxPool",
        global_max,
        &["opset 1\n input x: f32[1, 2, 3]\n y = GlobalMaxPool(x)\n output y: f32[1, 2, 1]"],
    ),
    rules::onnx(
        "GlobalLpPool",
        global_lp,
        &["input x: f32[1, 2, 3]\n y = GlobalLpPool(x)\n output y: f32[1, 2, 1]"],
    ),
    check::microsoft("QLinearGlobalAveragePool", qlinear_global, &["opset com.microsoft 1
             input x: u8[n, 7, 7, 64]\n input s: f32[]\n input z: u8[]
             y = com.microsoft::QLinearGlobalAveragePool(x, s, z, s, z) {channels_last = 1}
             output y: u8[n, 1, 1, 64]"]),
    rules::onnx(
        "MaxUnpool",
        max_unpool,
        &[
            "input x: f32[1, c, 2, 2]\n input i: i64[1, c, 2, 2]
             y = MaxUnpool(x, i) {kernel_shape = [2, 2], strides = [2, 2]}
             output y: f32[1, c, 4, 4]",
            "input x: f32[1, 1, 2, 2]\n input i: i64[1, 1, 2, 2]\n const s: i64[4] = [1, 1, 5, 5]
             y = MaxUnpool(x, i, s) {kernel_shape = [2, 2], strides = [2, 2]}
             output y: f32[1, 1, 5, 5]",
        ],
    ),
];

/// Windows over `kernel_shape`, which a pool must have.
fn window(attrs: &Attrs) -> Result<Window> {
    let window = Window::parse(attrs)?;
    rules::required(window.kernel_rank(), "kernel_shape")?;
    Ok(window)
}

struct Pool {
    window: Window,
    channels_last: bool,
    /// Input 0 and the zero points are of one type.
    typed_inputs: &'static [usize],
    /// `None` for quantised elements, which have no kernel.
    kind: Option<Kind>,
}

fn pool(window: Window, kind: Kind) -> Result<Box<dyn Op>> {
    Ok(Box::new(Pool {
        window,
        channels_last: false,
        typed_inputs: &[0],
        kind: Some(kind),
    }))
}

fn max_pool(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let known = version >= 10;
    let column_major = check::flag(attrs, "storage_order");
    let window = window(attrs)?.with(known, known);
    pool(window, Kind::Max { column_major })
}

fn average_pool(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let count_include_pad = check::flag(attrs, "count_include_pad");
    let window = window(attrs)?.with(version >= 19, version >= 10);
    pool(window, Kind::Average { count_include_pad })
}

fn lp_pool(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let known = version >= 18;
    // Before version 2, p is a float, and no kernel is made for it.
    let p = attrs.int("p").unwrap_or(2);
    pool(window(attrs)?.with(known, known), Kind::Lp(p))
}

fn qlinear_average_pool(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Pool {
        window: window(attrs)?,
        channels_last: check::flag(attrs, "channels_last"),
        typed_inputs: &[0, 2, 4],
        kind: None,
    }))
}

impl Op for Pool {
    /// x: [n, c, d..] -> y: [n, c, d'..] and, from MaxPool, where each maximum was.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let dtype = rules::same_dtype(inputs, self.typed_inputs.iter().copied())?;
        let kernel_rank = self.window.kernel_rank().expect("parse has asked for it");
        let shape = match &x.shape {
            None => Shape::unknown(kernel_rank + 2),
            Some(x) => {
                check::min_rank("x", x, 3)?;
                self.window.check_rank(x.rank() - 2)?;
                let first = if self.channels_last { 1 } else { 2 };
                let mut y = x.clone();
                for axis in 0..x.rank() - 2 {
                    let kernel = self.window.kernel(axis);
                    let idx = first + axis;
                    y.0[idx] = self.window.outputs(axis, &x[idx], &kernel)?;
                }
                y
            }
        };
        let indices = Fact::tensor(DType::I64, shape.clone());
        Ok(vec![rules::fact(dtype, Some(shape)), indices])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let kind = self.kind.ok_or("quantised elements have no kernel")?;
        let (x, y) = (call.sizes(0), call.output_sizes(0));
        let kernel = self.window.kernel_sizes();
        let slides = self.window.slides(&x[2..], &kernel, &y[2..])?;
        pool_kernels::dispatch(call, kind, slides)
    }
}

/// Over all spatial axes: x: [n, c, d..] -> [n, c, 1..].
struct Global {
    channels_last: bool,
    typed_inputs: &'static [usize],
    /// `None` where no kernel reduces so.
    reduces: Option<reduce_kernel::Kind>,
}

fn global(reduces: Option<reduce_kernel::Kind>) -> Result<Box<dyn Op>> {
    Ok(Box::new(Global {
        channels_last: false,
        typed_inputs: &[0],
        reduces,
    }))
}

fn global_average(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    global(Some(reduce_kernel::Kind::Mean))
}

fn global_max(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    global(Some(reduce_kernel::Kind::Max))
}

fn global_lp(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    global(match attrs.int("p").unwrap_or(2) {
        1 => Some(reduce_kernel::Kind::L1),
        2 => Some(reduce_kernel::Kind::L2),
        _ => None,
    })
}

fn qlinear_global(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Global {
        channels_last: check::flag(attrs, "channels_last"),
        typed_inputs: &[0, 2, 4],
        reduces: None,
    }))
}

impl Op for Global {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let dtype = rules::same_dtype(inputs, self.typed_inputs.iter().copied())?;
        let mut shape = x.shape.clone();
        if let Some(shape) = &mut shape {
            check::min_rank("x", shape, 2)?;
            let first = if self.channels_last { 1 } else { 2 };
            let end = first + shape.rank() - 2;
            shape.0[first..end].fill(Dim::Size(1));
        }
        Ok(vec![rules::fact(dtype, shape)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let reduces = self.reduces.ok_or("no kernel reduces so")?;
        let axes: Vec<usize> = (2..call.sizes(0).len()).collect();
        reduce_kernel::dispatch(reduces, &axes, call)
    }
}

/// x, indices: [n, c, d..] -> [n, c, (d - 1) * stride + kernel - pads ..], or as `output_shape` says.
struct MaxUnpool {
    window: Window,
}

fn max_unpool(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let window = window(attrs)?;
    Ok(Box::new(MaxUnpool { window }))
}

impl Op for MaxUnpool {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let dtype = rules::tensor(inputs, 0)?.dtype;
        rules::tensor(inputs, 1)?;
        let x = rules::unify_shapes(inputs.shape(0), inputs.shape(1), "x and indices")?;
        let Some(mut shape) = x else {
            return Ok(vec![rules::fact(dtype, None)]);
        };
        check::min_rank("x", &shape, 3)?;
        self.window.check_rank(shape.rank() - 2)?;
        if inputs.get(2).is_some() {
            let given = inputs
                .dims(2)
                .unwrap_or_else(|| vec![Dim::Unknown; shape.rank()]);
            if given.len() != shape.rank() {
                let why = format!("output_shape {} is not for x {shape}", Shape(given));
                return Err(Error::shape("", why));
            }
            return Ok(vec![rules::fact(dtype, Some(Shape(given)))]);
        }
        for axis in 0..shape.rank() - 2 {
            let (before, after) = self.window.pads(axis);
            let stride = self.window.stride(axis);
            let tail = &self.window.kernel(axis) + (-stride - before - after);
            let size = &(&shape[axis + 2] * stride) + &tail;
            if size.value().is_some_and(|size| size < 0) {
                let why = format!("pads {before} and {after} leave {size} along axis {axis}");
                return Err(Error::shape("", why));
            }
            shape.0[axis + 2] = size;
        }
        Ok(vec![rules::fact(dtype, Some(shape))])
    }
}
