//! Signals: the discrete Fourier transform, over the whole or in frames, the windows that fade
//! frames out, and the weights that gather frequencies into mel bands.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "DFT",
        dft,
        &[
            "input x: f32[n, 10, 1]\n y = DFT(x)\n output y: f32[n, 10, 2]",
            "input x: f32[n, 10, t, 1]\n const l: i64[] = [16]\n const a: i64[] = [1]
             y = DFT(x, l, a) {onesided = 1}\n output y: f32[n, 9, t, 2]",
            "input x: f32[n, t, 2]\n y = DFT(x) {onesided = 1, inverse = 1}
             output y: f32[n, ((t * 2) - 2), 1]",
            "opset 17\n input x: f16[1, 10, 4, 2]\n y = DFT(x) {inverse = 1, axis = 2}
             output y: f16[1, 10, 4, 2]",
        ],
    ),
    rules::onnx(
        "STFT",
        stft,
        &[
            "input x: f32[b, 128, 1]\n const step: i64[] = [8]\n input w: f32[16]
             y = STFT(x, step, w)\n output y: f32[b, 15, 9, 2]",
            "input x: f32[b, t, 2]\n const step: i64[] = [4]\n const l: i64[] = [16]
             y = STFT(x, step, _, l) {onesided = 0}\n output y: f32[b, (((t - 16) / 4) + 1), 16, 2]",
        ],
    ),
    rules::onnx(
        "HannWindow",
        window,
        &["const n: i64[] = [10]\n y = HannWindow(n)\n output y: f32[10]"],
    ),
    rules::onnx(
        "HammingWindow",
        window,
        &["input n: i32[]\n y = HammingWindow(n) {output_datatype = 11}\n output y: f64[?]"],
    ),
    rules::onnx(
        "BlackmanWindow",
        window,
        &["const n: i64[] = [0]\n y = BlackmanWindow(n)\n output y: f32[0]"],
    ),
    rules::onnx(
        "MelWeightMatrix",
        mel,
        &[
            "const bands: i64[] = [8]\n const l: i64[] = [16]\n input rate: i64[]\n input f: f32[]
             y = MelWeightMatrix(bands, l, rate, f, f)\n output y: f32[9, 8]",
        ],
    ),
];

/// An integer input of one element that is a size.
///
/// # Errors
/// `SHAPE_MISMATCH` when it is below `min`, or not one element.
fn size(inputs: &Inputs, idx: usize, what: &str, min: i64) -> Result<Dim> {
    let size = rules::scalar(inputs, idx)?.unwrap_or(Dim::Unknown);
    if size.value().is_some_and(|size| size < min) {
        return Err(Error::shape(
            "",
            format!("{what} is {size}, expected {min} or more"),
        ));
    }
    Ok(size)
}

/// How many of `n` frequencies are not mirrored by others.
fn half(n: &Dim) -> Dim {
    &n.floor_div(&Dim::Size(2)) + 1
}

struct Dft {
    inverse: bool,
    one_sided: bool,
    /// `None` where an input gives it.
    axis: Option<i64>,
}

fn dft(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Dft {
        inverse: check::flag(attrs, "inverse"),
        one_sided: check::flag(attrs, "onesided"),
        axis: (version < 20).then(|| attrs.int("axis").unwrap_or(1)),
    }))
}

impl Op for Dft {
    /// x: [.., n, .., 1 or 2], the last axis for real and imaginary parts -> [.., k, .., 2], or
    /// [.., k, .., 1] for the real signal of half its frequencies.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let Some(mut shape) = x.shape.clone() else {
            return Ok(vec![rules::fact(x.dtype, None)]);
        };
        check::min_rank("x", &shape, 2)?;
        let last = shape.rank() - 1;
        if shape[last]
            .value()
            .is_some_and(|parts| !matches!(parts, 1 | 2))
        {
            let why = format!("the last axis of x {shape} is not 1 or 2");
            return Err(Error::shape("", why));
        }
        let to_real = self.inverse && self.one_sided;
        shape.0[last] = Dim::Size(if to_real { 1 } else { 2 });
        let axis = match self.axis {
            Some(axis) => Some(axis),
            None if inputs.get(2).is_none() => Some(-2),
            None => rules::scalar(inputs, 2)?.and_then(|axis| axis.value()),
        };
        let Some(axis) = axis else {
            shape.0[..last].fill(Dim::Unknown);
            return Ok(vec![rules::fact(x.dtype, Some(shape))]);
        };
        let axis = rules::axis_in(shape.rank(), axis)?;
        if axis == last {
            return Err(Error::shape(
                "",
                format!("axis {axis} of x {shape} is that of the parts"),
            ));
        }
        let length = if inputs.get(1).is_some() {
            size(inputs, 1, "the length", 1)?
        } else if to_real {
            &(&shape[axis] * 2) - 2
        } else {
            shape[axis].clone()
        };
        shape.0[axis] = match (self.one_sided, self.inverse) {
            (true, false) => half(&length),
            _ => length,
        };
        Ok(vec![rules::fact(x.dtype, Some(shape))])
    }
}

struct Stft {
    one_sided: bool,
}

fn stft(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let one_sided = attrs.int("onesided") != Some(0);
    Ok(Box::new(Stft { one_sided }))
}

impl Op for Stft {
    /// signal: [b, t, 1 or 2], step, window: [l], length l -> [b, frames, l or l / 2 + 1, 2].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        let dtype = rules::same_dtype(inputs, [0, 2])?;
        let mut signal = [Dim::Unknown, Dim::Unknown, Dim::Unknown];
        check::meet_shape("signal", inputs.shape(0), &mut signal)?;
        let [batch, samples, _] = signal;
        let step = size(inputs, 1, "the step", 1)?;
        let mut length = match (inputs.get(2), inputs.get(3)) {
            (None, None) => samples.clone(),
            (_, None) => Dim::Unknown,
            _ => size(inputs, 3, "the frame length", 1)?,
        };
        if inputs.get(2).is_some() {
            let mut window = [length];
            check::meet_shape("window", inputs.shape(2), &mut window)?;
            [length] = window;
        }
        let room = &samples - &length;
        if room.value().is_some_and(|room| room < 0) {
            let why = format!("a frame of {length} does not fit {samples} samples");
            return Err(Error::shape("", why));
        }
        let frames = &room.floor_div(&step) + 1;
        let bins = if self.one_sided {
            half(&length)
        } else {
            length
        };
        let y = Shape(vec![batch, frames, bins, Dim::Size(2)]);
        Ok(vec![rules::fact(dtype, Some(y))])
    }
}

fn output_dtype(attrs: &Attrs) -> Result<DType> {
    let number = attrs.int("output_datatype").unwrap_or(1);
    rules::dtype_attr(number, "output_datatype")
}

struct FadingWindow {
    dtype: DType,
}

fn window(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let dtype = output_dtype(attrs)?;
    Ok(Box::new(FadingWindow { dtype }))
}

impl Op for FadingWindow {
    /// n -> [n].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        rules::tensor(inputs, 0)?;
        let size = size(inputs, 0, "the size", 0)?;
        Ok(vec![Fact::tensor(self.dtype, Shape(vec![size]))])
    }
}

struct Mel {
    dtype: DType,
}

fn mel(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let dtype = output_dtype(attrs)?;
    Ok(Box::new(Mel { dtype }))
}

impl Op for Mel {
    /// bands, length of the transform -> [length / 2 + 1, bands].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        for idx in 0..5 {
            rules::tensor(inputs, idx)?;
        }
        let bands = size(inputs, 0, "the number of bands", 0)?;
        let length = size(inputs, 1, "the length", 0)?;
        let shape = Shape(vec![half(&length), bands]);
        Ok(vec![Fact::tensor(self.dtype, shape)])
    }
}
