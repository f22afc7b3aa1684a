//! Windows that slide over the spatial axes: kernel, strides, dilations and padding, as
//! convolutions and pools share them.

use super::{Attrs, check};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Refusal};
use crate::tensor::Dim;

pub(super) struct Window {
    /// Empty where the weights decide.
    kernel: Vec<i64>,
    /// Empty for ones, as are the dilations.
    strides: Vec<i64>,
    dilations: Vec<i64>,
    padding: Padding,
    /// Rounds the number of windows up.
    ceil: bool,
}

/// How far windows and padding may reach.
const MAX_REACH: usize = 1 << 29;

/// A window along one spatial axis of known size: output `o` sees the input elements
/// `o * stride + k * dilation - before` for each `k` below `kernel`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slide {
    pub x: usize,
    pub y: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub before: usize,
    /// What is padded behind the end, as the attributes say.
    pub after: usize,
}

impl Slide {
    /// An axis of size 1 that the kernel leaves alone.
    pub const NONE: Slide = Slide {
        x: 1,
        y: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        before: 0,
        after: 0,
    };

    /// True where every output is the input at its place.
    pub fn is_identity(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.before == 0 && self.x == self.y
    }

    /// How far the windows reach, from the padding before the input on.
    pub fn reach(&self) -> usize {
        (self.y.max(1) - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
    }

    /// The numbers as parameters of a kernel: `x0`, `y0`, `kernel0`, …
    pub fn declare(slides: &[Slide; 3], kernel: Kernel) -> Kernel {
        let of = |get: fn(&Slide) -> usize| slides.iter().map(get).collect::<Vec<usize>>();
        kernel
            .params("x", &of(|slide| slide.x))
            .params("y", &of(|slide| slide.y))
            .params("kernel", &of(|slide| slide.kernel))
            .params("stride", &of(|slide| slide.stride))
            .params("dilation", &of(|slide| slide.dilation))
            .params("before", &of(|slide| slide.before))
    }
}

pub(super) enum Padding {
    /// All begins, then all ends; empty for none.
    Explicit(Vec<i64>),
    /// As many windows as strides fit the input; what is left over is at the end.
    SameUpper,
    /// The same with what is left over at the beginning.
    SameLower,
}

impl Window {
    /// Reads `kernel_shape`, `strides`, `dilations`, `pads`, `auto_pad` and `ceil_mode`.
    ///
    /// # Errors
    /// `MODEL_PARSE` when a size is not positive or a pad is negative.
    pub fn parse(attrs: &Attrs) -> Result<Window> {
        let padding = match attrs.str("auto_pad") {
            None | Some("NOTSET" | "") => Padding::Explicit(check::counts(attrs, "pads", 0)?),
            Some("SAME_UPPER") => Padding::SameUpper,
            Some("SAME_LOWER") => Padding::SameLower,
            Some("VALID") => Padding::Explicit(Vec::new()),
            Some(other) => {
                return Err(Error::parse("", format!("auto_pad is {other:?}")));
            }
        };
        Ok(Window {
            kernel: check::counts(attrs, "kernel_shape", 1)?,
            strides: check::counts(attrs, "strides", 1)?,
            dilations: check::counts(attrs, "dilations", 1)?,
            padding,
            ceil: check::flag(attrs, "ceil_mode"),
        })
    }

    /// The window without what the operator's version does not know.
    pub fn with(mut self, dilations: bool, ceil_mode: bool) -> Window {
        if !dilations {
            self.dilations.clear();
        }
        self.ceil &= ceil_mode;
        self
    }

    pub fn padding(&self) -> &Padding {
        &self.padding
    }

    /// How many spatial axes the kernel has, where the attribute gives it.
    pub fn kernel_rank(&self) -> Option<usize> {
        Some(self.kernel.len()).filter(|&rank| rank > 0)
    }

    /// The size of the kernel along an axis, from the attribute.
    pub fn kernel(&self, axis: usize) -> Dim {
        self.kernel
            .get(axis)
            .map_or(Dim::Unknown, |&size| Dim::Size(size))
    }

    pub fn stride(&self, axis: usize) -> i64 {
        self.strides.get(axis).copied().unwrap_or(1)
    }

    fn dilation(&self, axis: usize) -> i64 {
        self.dilations.get(axis).copied().unwrap_or(1)
    }

    /// Explicit pads before and after an axis.
    pub fn pads(&self, axis: usize) -> (i64, i64) {
        match &self.padding {
            Padding::Explicit(pads) => {
                let pad = |idx| pads.get(idx).copied().unwrap_or(0);
                (pad(axis), pad(axis + pads.len() / 2))
            }
            _ => (0, 0),
        }
    }

    /// # Errors
    /// `SHAPE_MISMATCH` when an attribute is not for this number of spatial axes.
    pub fn check_rank(&self, n_spatial: usize) -> Result<()> {
        let pads = match &self.padding {
            Padding::Explicit(pads) => pads.as_slice(),
            _ => &[],
        };
        let lists = [
            ("kernel_shape", self.kernel.as_slice(), n_spatial),
            ("strides", &self.strides, n_spatial),
            ("dilations", &self.dilations, n_spatial),
            ("pads", pads, 2 * n_spatial),
        ];
        for (name, list, expected) in lists {
            if !list.is_empty() && list.len() != expected {
                let why = format!("{name} {list:?} is not for {n_spatial} spatial axes");
                return Err(Error::shape("", why));
            }
        }
        Ok(())
    }

    /// The window along up to three spatial axes of `x` and `y`; missing ones come first, so that
    /// every kernel sees three.
    ///
    /// # Errors
    /// A refusal of more than three axes, and of windows beyond what shaders count.
    pub fn slides(
        &self,
        x: &[usize],
        kernel: &[usize],
        y: &[usize],
    ) -> Result<[Slide; 3], Refusal> {
        let missing = 3_usize.checked_sub(x.len());
        let missing = missing.ok_or("more than three spatial axes")?;
        let mut slides = [Slide::NONE; 3];
        for (axis, slide) in slides[missing..].iter_mut().enumerate() {
            *slide = self
                .slide(axis, x[axis], kernel[axis], y[axis])
                .ok_or("its windows reach too far")?;
        }
        Ok(slides)
    }

    fn slide(&self, axis: usize, x: usize, kernel: usize, y: usize) -> Option<Slide> {
        let (stride, dilation) = (self.stride(axis), self.dilation(axis));
        let mut slide = Slide {
            x,
            y,
            kernel,
            stride: usize::try_from(stride).ok()?,
            // A single element has no holes.
            dilation: usize::try_from(if kernel == 1 { 1 } else { dilation }).ok()?,
            before: 0,
            after: 0,
        };
        // Sums of any two of these fit 32 bits, of which usize may have no more.
        let bounded = |n: usize| (n <= MAX_REACH).then_some(n);
        let holes = bounded(kernel.max(1) - 1)?.checked_mul(slide.dilation)?;
        bounded(bounded(y.max(1) - 1)?.checked_mul(slide.stride)?)?;
        bounded(holes)?;
        let total = slide.reach().saturating_sub(x);
        (slide.before, slide.after) = match self.padding {
            Padding::Explicit(_) => {
                let (before, after) = self.pads(axis);
                (usize::try_from(before).ok()?, usize::try_from(after).ok()?)
            }
            Padding::SameUpper => (total / 2, total - total / 2),
            Padding::SameLower => (total - total / 2, total / 2),
        };
        bounded(slide.before)?;
        bounded(slide.after)?;
        Some(slide)
    }

    /// The sizes of the kernel, from the attribute.
    pub fn kernel_sizes(&self) -> Vec<usize> {
        let sizes = self.kernel.iter().map(|&size| usize::try_from(size));
        sizes.map(|size| size.expect("parse has seen it")).collect()
    }

    /// How many input elements a window spans, holes included.
    ///
    /// # Errors
    /// `SHAPE_MISMATCH` when the kernel is empty.
    pub fn extent(&self, axis: usize, kernel: &Dim) -> Result<Dim> {
        if kernel.value().is_some_and(|size| size < 1) {
            return Err(Error::shape(
                "",
                format!("kernel is {kernel} along axis {axis}"),
            ));
        }
        Ok(&(&(kernel - 1) * self.dilation(axis)) + 1)
    }

    /// How many windows there are along a spatial axis of size `x`.
    ///
    /// # Errors
    /// `SHAPE_MISMATCH` when not even one fits.
    pub fn outputs(&self, axis: usize, x: &Dim, kernel: &Dim) -> Result<Dim> {
        let extent = self.extent(axis, kernel)?;
        let stride = Dim::Size(self.stride(axis));
        if matches!(self.padding, Padding::SameUpper | Padding::SameLower) {
            return Ok(x.ceil_div(&stride));
        }
        let (before, after) = self.pads(axis);
        let outputs = if self.ceil {
            // The last window may hang over the end, but must start before it: so there are at
            // most as many windows as strides fit into the input and the padding before it.
            let overhang = &(&Dim::Size(after) - &extent) + &stride;
            (&(x + before) + &overhang.min(&Dim::Size(0))).ceil_div(&stride)
        } else {
            let slack = &(x + (before + after)) - &extent;
            &slack.floor_div(&stride) + 1
        };
        if outputs.value().is_some_and(|outputs| outputs < 1) {
            let why = format!(
                "a window over {extent} does not fit spatial axis {axis} of {x} with pads {before} and {after}"
            );
            return Err(Error::shape("", why));
        }
        Ok(outputs)
    }
}
