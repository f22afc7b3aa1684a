//! Transposed convolution: every input element adds its multiple of the kernel to the output,
//! `stride` apart.

use super::conv_kernels::{self, Geometry};
use super::window::{Padding, Slide, Window};
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[rules::onnx("ConvTranspose", parse, &[
        "input x: f32[1, 5, 5, 1]\n input k: f32[5, 1, 1, 5]
             y = ConvTranspose(x, k)
             output y: f32[1, 1, 5, 5]",
            "input x: f32[n, 64, h, 20]\n input k: f32[64, 32, 2, 2]\n input b: f32[32]
         y = ConvTranspose(x, k, b) {strides = [2, 2]}
         output y: f32[n, 32, (h * 2), 40]",
        "opset 1\n input x: f32[1, 1, 3, 3]\n input k: f32[1, 2, 3, 3]
         y = ConvTranspose(x, k) {strides = [3, 2], output_padding = [1, 1], dilations = [2, 2], pads = [1, 0, 0, 1]}
         output y: f32[1, 2, 11, 9]",
        "input x: f32[2, 5, 7, 6]\n input k: f32[5, 6, 2, 2]\n input b: f32[6]
         y = ConvTranspose(x, k, b) {strides = [2, 2]}
         output y: f32[2, 6, 14, 12]",
        "input x: f32[1, 3, 5, 9]\n input k: f32[3, 5, 4, 4]\n input b: f32[5]
         y = ConvTranspose(x, k, b) {strides = [2, 2], pads = [1, 1, 1, 1]}
         output y: f32[1, 5, 10, 18]",
        "input x: f32[1, 3, 5, 9]\n input k: f32[3, 2, 5, 3]
         y = ConvTranspose(x, k) {pads = [2, 1, 2, 1]}
         output y: f32[1, 2, 5, 9]",
        "input x: f32[1, 4, 6, 7]\n input k: f32[4, 1, 3, 3]
         y = ConvTranspose(x, k) {group = 4, strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]}
         output y: f32[1, 4, 12, 14]",
        "input x: f16[1, 2, 9]\n input k: f16[2, 3, 4]
         y = ConvTranspose(x, k) {strides = [3]}
         output y: f16[1, 3, 28]",
        "input x: f32[1, 4, 3, 3]\n input k: f32[4, 2, 3, 3]
         y = ConvTranspose(x, k) {group = 2, strides = [3, 2], output_shape = [10, 8]}
         output y: f32[1, 4, 10, 8]",
        "input x: f32[1, 1, 3, w]\n input k: f32[1, 2, 3, 3]
         y = ConvTranspose(x, k) {auto_pad = \"SAME_UPPER\", strides = [2, 2]}
         output y: f32[1, 2, 6, (w * 2)]",
    ]),];

struct ConvTranspose {
    window: Window,
    group: i64,
    output_padding: Vec<i64>,
    /// Spatial sizes that replace the computed ones; the pads follow from them.
    output_shape: Vec<i64>,
}

fn parse(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(ConvTranspose {
        window: Window::parse(attrs)?,
        group: check::count(attrs, "group", 1)?.unwrap_or(1),
        output_padding: check::counts(attrs, "output_padding", 0)?,
        output_shape: check::counts(attrs, "output_shape", 0)?,
    }))
}

impl Op for ConvTranspose {
    /// x: [n, c, d..], w: [c, m / group, k..], b: [m] -> [n, m, d'..].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, w) = (
            &rules::tensor(inputs, 0)?.shape,
            &rules::tensor(inputs, 1)?.shape,
        );
        let dtype = rules::same_dtype(inputs, [0, 1, 2])?;
        let Some(rank) = x.as_ref().or(w.as_ref()).map(Shape::rank) else {
            return Ok(vec![rules::fact(dtype, None)]);
        };
        let unknown = Shape::unknown(rank);
        let (x, w) = (
            x.as_ref().unwrap_or(&unknown),
            w.as_ref().unwrap_or(&unknown),
        );
        check::min_rank("x", x, 3)?;
        check::rank("w", w, rank)?;
        self.window.check_rank(rank - 2)?;
        for (name, list) in [
            ("output_padding", &self.output_padding),
            ("output_shape", &self.output_shape),
        ] {
            if !list.is_empty() && list.len() != rank - 2 {
                let why = format!("{name} {list:?} is not for {} spatial axes", rank - 2);
                return Err(Error::shape("", why));
            }
        }
        let channels = check::meet("channels of x and of w", &x[1], &w[0])?;
        if channels.value().is_some_and(|c| c % self.group != 0) {
            let why = format!(
                "{channels} channels do not split into {} groups",
                self.group
            );
            return Err(Error::shape("", why));
        }
        let mut features = [&w[1] * self.group];
        check::meet_shape("bias", inputs.shape(2), &mut features)?;
        let [features] = features;
        let mut shape = vec![x[0].clone(), features];
        for axis in 0..rank - 2 {
            let kernel = check::meet(
                "kernel of w and kernel_shape",
                &w[axis + 2],
                &self.window.kernel(axis),
            )?;
            shape.push(self.output(axis, &x[axis + 2], &kernel)?);
        }
        Ok(vec![rules::fact(dtype, Some(Shape(shape)))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, w, y) = (call.sizes(0), call.sizes(1), call.output_sizes(0));
        let groups = usize::try_from(self.group).expect("parse has seen it");
        let mut slides = self.window.slides(&x[2..], &w[2..], &y[2..])?;
        let missing = 5 - x.len();
        for (axis, slide) in slides[missing..].iter_mut().enumerate() {
            slide.before = self.cut(axis, slide)?;
            // Places of the output and of the taps are added up in 32 bits.
            let most = (slide.kernel * slide.dilation)
                .checked_mul(slide.stride)
                .and_then(|most| most.checked_add(slide.y + slide.before));
            if most.is_none_or(|most| most > i32::MAX as usize) {
                return Err("its kernel reaches too far".into());
            }
        }
        let geometry = Geometry {
            batch: x[0],
            groups,
            channels: w[0] / groups,
            features: w[1],
            slides,
        };
        conv_kernels::dispatch_transposed(call, geometry)
    }
}

impl ConvTranspose {
    /// What a spatial axis of the output loses at its beginning.
    fn cut(&self, axis: usize, slide: &Slide) -> Result<usize, Refusal> {
        let upper = match self.window.padding() {
            Padding::Explicit(_) if self.output_shape.is_empty() => return Ok(slide.before),
            Padding::SameUpper => true,
            Padding::Explicit(_) | Padding::SameLower => false,
        };
        let added = self.output_padding.get(axis).copied().unwrap_or(0);
        let added = usize::try_from(added).expect("parse has seen it");
        let span = (slide.kernel - 1) * slide.dilation + 1;
        let made = (slide.x.max(1) - 1) * slide.stride + span + added;
        let total = made.checked_sub(slide.y);
        let total = total.ok_or("its padding would be negative")?;
        Ok(if upper { total / 2 } else { total - total / 2 })
    }

    /// The size of a spatial axis of the output.
    fn output(&self, axis: usize, x: &Dim, kernel: &Dim) -> Result<Dim> {
        if let Some(&size) = self.output_shape.get(axis) {
            return Ok(Dim::Size(size));
        }
        let stride = self.window.stride(axis);
        let extent = self.window.extent(axis, kernel)?;
        let added = self.output_padding.get(axis).copied().unwrap_or(0);
        let (before, after) = self.window.pads(axis);
        // (x - 1) * stride + extent + added - pads, with all numbers in one sum.
        let mut tail = &(&extent - stride) + (added - before - after);
        if matches!(
            self.window.padding(),
            Padding::SameUpper | Padding::SameLower
        ) {
            // Pads take off what goes beyond x * stride; a short kernel does not reach so far.
            tail = tail.min(&Dim::Size(0));
        }
        let size = &(x * stride) + &tail;
        if size.value().is_some_and(|size| size < 0) {
            let why = format!("pads {before} and {after} leave {size} along spatial axis {axis}");
            return Err(Error::shape("", why));
        }
        Ok(size)
    }
}
