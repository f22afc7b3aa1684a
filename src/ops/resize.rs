//! `Resize` and its predecessor `Upsample`: samples of `x` at evenly spaced places, as many as
//! scales or sizes ask for.

use super::resize_kernel;
use super::resize_taps::{Axis, Coordinates, Filter, Rounding, Sampling};
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{Dim, Fact, Shape, Tensor};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "Resize",
        resize,
        &[
            "input x: f32[n, 3, h, 5]\n const s: f32[4] = [1.0, 1.0, 2.0, 0.7]
             y = Resize(x, _, s) {mode = \"linear\"}
             output y: f32[n, 3, (h * 2), 3]",
            "input x: f32[2, 3, 5, 4]\n const t: i64[4] = [2, 3, 10, 8]
             y = Resize(x, _, _, t) {mode = \"nearest\", coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"}
             output y: f32[2, 3, 10, 8]",
            "input x: f32[2, 3, 5, 4]\n const t: i64[4] = [2, 3, 10, 8]
             y = Resize(x, _, _, t) {mode = \"nearest\", coordinate_transformation_mode = \"half_pixel\", nearest_mode = \"round_prefer_ceil\"}
             output y: f32[2, 3, 10, 8]",
            "input x: f32[2, 3, 5, 4]\n const t: i64[4] = [2, 3, 10, 8]
             y = Resize(x, _, _, t) {mode = \"linear\", coordinate_transformation_mode = \"pytorch_half_pixel\", nearest_mode = \"floor\"}
             output y: f32[2, 3, 10, 8]",
            "input x: f32[2, 3, 5, 4]\n const t: i64[4] = [2, 3, 10, 8]
             y = Resize(x, _, _, t) {mode = \"linear\", coordinate_transformation_mode = \"align_corners\", nearest_mode = \"floor\"}
             output y: f32[2, 3, 10, 8]",
            "input x: f32[2, 3, 5, 4]\n const t: i64[4] = [2, 3, 10, 8]
             y = Resize(x, _, _, t) {mode = \"nearest\", coordinate_transformation_mode = \"tf_half_pixel_for_nn\", nearest_mode = \"floor\"}
             output y: f32[2, 3, 10, 8]",
            "input x: f32[2, 3, 5, 4]\n const t: i64[4] = [2, 3, 10, 8]
             y = Resize(x, _, _, t) {mode = \"cubic\", coordinate_transformation_mode = \"half_pixel\", nearest_mode = \"floor\"}
             output y: f32[2, 3, 10, 8]",
            "input x: f32[1, 2, 9, 7]\n const s: f32[4] = [1.0, 1.0, 0.6, 1.7]
             y = Resize(x, _, s) {mode = \"linear\", coordinate_transformation_mode = \"asymmetric\"}
             output y: f32[1, 2, 5, 11]",
            "input x: f32[1, 2, 9, 7]\n const s: f32[4] = [1.0, 1.0, 0.6, 1.7]
             y = Resize(x, _, s) {nearest_mode = \"ceil\"}
             output y: f32[1, 2, 5, 11]",
            "input x: u8[1, 3, 4, 5]\n const s: f32[4] = [1.0, 1.0, 2.0, 3.0]
             y = Resize(x, _, s) {nearest_mode = \"floor\", coordinate_transformation_mode = \"asymmetric\"}
             output y: u8[1, 3, 8, 15]",
            "input x: f32[1, 3, 8, w]\n input t: i64[4]
             y = Resize(x, _, _, t)\n output y: f32[?, ?, ?, ?]",
            "input x: f32[1, 3, 20, 40]\n const t: i64[2] = [10, 30]
             y = Resize(x, _, _, t) {axes = [3, 2], keep_aspect_ratio_policy = \"not_larger\"}
             output y: f32[1, 3, 5, 10]",
            "input x: f32[1, 3, 20, 40]\n const t: i64[2] = [10, 30]
             y = Resize(x, _, _, t) {axes = [2, 3], keep_aspect_ratio_policy = \"not_smaller\"}
             output y: f32[1, 3, 15, 30]",
            "opset 11\n input x: f32[1, 1, h, w]\n const r: f32[0] = []\n const s: f32[0] = []
             const t: i64[4] = [1, 1, 7, 9]
             y = Resize(x, r, s, t)\n output y: f32[1, 1, 7, 9]",
            "opset 10\n input x: u8[1, 1, 4, w]\n const s: f32[4] = [1.0, 1.0, 0.5, 0.5]
             y = Resize(x, s)\n output y: u8[1, 1, 2, (w / 2)]",
            "input x: f32[1, 1, 10, 10]\n const s: f32[2] = [2.0, 1.0]\n input r: f32[4]
             y = Resize(x, r, s) {axes = [2, 3], coordinate_transformation_mode = \"tf_crop_and_resize\"}
             output y: f32[1, 1, ?, ?]",
        ],
    ),
    rules::onnx(
        "Upsample",
        upsample,
        &[
            "opset 1\n input x: f32[n, c, 4, w]
             y = Upsample(x) {height_scale = 1.5, width_scale = 2.0}
             output y: f32[n, c, 6, (w * 2)]",
            "opset 7\n input x: f32[n, 3, 4]\n y = Upsample(x) {scales = [1.0, 1.0, 2.0]}
             output y: f32[n, 3, 8]",
            "opset 9\n input x: f32[n, 3, 4]\n const s: f32[3] = [1.0, 1.0, 2.5]
             y = Upsample(x, s)\n output y: f32[n, 3, 10]",
        ],
    ),
];

/// The largest size a scale may lead to; beyond it, floats skip integers.
const MAX_SIZE: f32 = 16_777_216.0;

struct Resize {
    /// Empty for all axes in order.
    axes: Vec<i64>,
    policy: Policy,
    sampling: Sampling,
    extrapolation: f32,
    scales: Scales,
    sizes_idx: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

enum Scales {
    Input(usize),
    Attribute(Vec<f32>),
}

/// An input that the version does not have.
const NONE: usize = usize::MAX;

fn resize(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let policy = match attrs.str("keep_aspect_ratio_policy") {
        None | Some("stretch") => Policy::Stretch,
        Some("not_larger") => Policy::NotLarger,
        Some("not_smaller") => Policy::NotSmaller,
        Some(other) => {
            let why = format!("keep_aspect_ratio_policy is {other:?}");
            return Err(Error::parse("", why));
        }
    };
    let old = version < 11;
    Ok(Box::new(Resize {
        axes: attrs.ints("axes").unwrap_or_default().to_vec(),
        policy,
        sampling: if old {
            from_the_corner(attrs)?
        } else {
            sampling(attrs)?
        },
        extrapolation: attrs.float("extrapolation_value").unwrap_or(0.0),
        scales: Scales::Input(if old { 1 } else { 2 }),
        sizes_idx: if old { NONE } else { 3 },
    }))
}

/// How versions from 11 on sample.
fn sampling(attrs: &Attrs) -> Result<Sampling> {
    let rounding = match attrs.str("nearest_mode").unwrap_or("round_prefer_floor") {
        "round_prefer_floor" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(Error::parse("", format!("nearest_mode is {other:?}"))),
    };
    let mode = attrs.str("coordinate_transformation_mode");
    Ok(Sampling {
        coordinates: match mode.unwrap_or("half_pixel") {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_half_pixel_for_nn" => Coordinates::HalfPixelForNearest,
            "tf_crop_and_resize" => Coordinates::Crop,
            other => {
                let why = format!("coordinate_transformation_mode is {other:?}");
                return Err(Error::parse("", why));
            }
        },
        filter: filter(attrs, rounding)?,
        exclude_outside: check::flag(attrs, "exclude_outside"),
        antialias: check::flag(attrs, "antialias"),
    })
}

/// How versions before 11 and `Upsample` sample.
fn from_the_corner(attrs: &Attrs) -> Result<Sampling> {
    Ok(Sampling {
        coordinates: Coordinates::Asymmetric,
        filter: filter(attrs, Rounding::Floor)?,
        exclude_outside: false,
        antialias: false,
    })
}

fn filter(attrs: &Attrs, rounding: Rounding) -> Result<Filter> {
    match attrs.str("mode").unwrap_or("nearest") {
        "nearest" => Ok(Filter::Nearest(rounding)),
        "linear" | "bilinear" => Ok(Filter::Linear),
        "cubic" => Ok(Filter::Cubic(attrs.float("cubic_coeff_a").unwrap_or(-0.75))),
        other => Err(Error::parse("", format!("mode is {other:?}"))),
    }
}

fn upsample(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let scales = if version >= 9 {
        Scales::Input(1)
    } else if version >= 7 {
        let scales = rules::required(attrs.floats("scales"), "scales")?;
        Scales::Attribute(scales.to_vec())
    } else {
        let scale = |name| rules::required(attrs.float(name), name);
        Scales::Attribute(vec![
            1.0,
            1.0,
            scale("height_scale")?,
            scale("width_scale")?,
        ])
    };
    Ok(Box::new(Resize {
        axes: Vec::new(),
        policy: Policy::Stretch,
        sampling: from_the_corner(attrs)?,
        extrapolation: 0.0,
        scales,
        sizes_idx: NONE,
    }))
}

impl Op for Resize {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let Some(shape) = &x.shape else {
            return Ok(vec![rules::fact(x.dtype, None)]);
        };
        let axes = match self.axes.as_slice() {
            [] => (0..shape.rank()).collect(),
            axes => rules::axes_in(shape.rank(), axes)?,
        };
        let mut y = shape.clone();
        let asked = if given(inputs, self.sizes_idx) {
            self.by_sizes(inputs, shape, &axes)?
        } else {
            self.by_scales(inputs, shape, &axes)?
        };
        for (axis, size) in axes.into_iter().zip(asked) {
            y.0[axis] = size;
        }
        Ok(vec![rules::fact(x.dtype, Some(y))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y) = (call.sizes(0), call.output_sizes(0));
        if x.contains(&0) {
            return Err("there is nothing to sample".into());
        }
        let listed = match self.axes.as_slice() {
            [] => (0..x.len()).collect(),
            axes => rules::axes_in(x.len(), axes).expect("infer has accepted the axes"),
        };
        let scales = self.scales_of(call, &listed)?;
        let crops = self.sampling.coordinates == Coordinates::Crop;
        let region = if crops {
            let region = call.constant(1).and_then(Tensor::to_f64s);
            region.ok_or("the region is not constant")?
        } else {
            vec![0.0; 2 * listed.len()]
        };
        if region.len() != 2 * listed.len() {
            return Err("the region is not for the axes".into());
        }
        let mut axes = vec![None; x.len()];
        for (idx, (&axis, scale)) in listed.iter().zip(scales).enumerate() {
            let region = (region[idx] as f32, region[idx + listed.len()] as f32);
            let stays = x[axis] == y[axis]
                && if crops {
                    region == (0.0, 1.0)
                } else {
                    scale == 1.0
                };
            axes[axis] = (!stays).then_some(Axis {
                x: x[axis],
                y: y[axis],
                scale,
                region,
            });
        }
        resize_kernel::dispatch(call, &axes, &self.sampling, self.extrapolation)
    }
}

/// True for an input that is there; until version 13 an empty tensor stands for one that is not.
fn given(inputs: &Inputs, idx: usize) -> bool {
    let empty = |shape: &Shape| shape.elements() == Dim::Size(0);
    inputs.get(idx).is_some() && !inputs.shape(idx).is_some_and(empty)
}

/// # Errors
/// `SHAPE_MISMATCH` when a list has not one entry for each axis.
fn expect_len(what: &str, len: usize, axes: &[usize]) -> Result<()> {
    if len == axes.len() {
        return Ok(());
    }
    let why = format!("{len} {what} for {} axes", axes.len());
    Err(Error::shape("", why))
}

impl Resize {
    /// The sizes of the axes from the input of sizes.
    fn by_sizes(&self, inputs: &Inputs, x: &Shape, axes: &[usize]) -> Result<Vec<Dim>> {
        let unknown = vec![Dim::Unknown; axes.len()];
        let Some(sizes) = inputs.dims(self.sizes_idx) else {
            return Ok(unknown);
        };
        expect_len("sizes", sizes.len(), axes)?;
        if let Some(size) = sizes
            .iter()
            .find(|size| size.value().is_some_and(|n| n < 0))
        {
            return Err(Error::shape("", format!("a size is {size}")));
        }
        if self.policy == Policy::Stretch {
            return Ok(sizes);
        }
        let mut scale: Option<f32> = None;
        for (size, &axis) in sizes.iter().zip(axes) {
            let (Some(size), Some(from)) = (size.value(), x[axis].value()) else {
                return Ok(unknown);
            };
            let ratio = size as f32 / from as f32;
            scale = Some(match (scale, self.policy) {
                (None, _) => ratio,
                (Some(scale), Policy::NotLarger) => scale.min(ratio),
                (Some(scale), _) => scale.max(ratio),
            });
        }
        let scale = scale.unwrap_or(1.0);
        let scaled = |axis: &usize| {
            let from = x[*axis].value().expect("all sizes were numbers") as f32;
            // Halves go up.
            whole((from * scale + 0.5).floor())
        };
        axes.iter().map(scaled).collect()
    }

    /// The sizes of the axes from scales.
    fn by_scales(&self, inputs: &Inputs, x: &Shape, axes: &[usize]) -> Result<Vec<Dim>> {
        let scales = match &self.scales {
            Scales::Attribute(scales) => Some(scales.clone()),
            Scales::Input(idx) => {
                rules::tensor(inputs, *idx)?;
                let scales = inputs.constant(*idx).and_then(Tensor::to_f64s);
                scales.map(|scales| scales.into_iter().map(|scale| scale as f32).collect())
            }
        };
        let Some(scales) = scales else {
            return Ok(vec![Dim::Unknown; axes.len()]);
        };
        expect_len("scales", scales.len(), axes)?;
        let pairs = scales.iter().zip(axes);
        pairs
            .map(|(&scale, &axis)| self.by_scale(scale, axis, &x[axis]))
            .collect()
    }

    /// The scales that places are counted by.
    fn scales_of(&self, call: &Call, axes: &[usize]) -> Result<Vec<f32>, Refusal> {
        let (x, y) = (call.sizes(0), call.output_sizes(0));
        let ratios = || axes.iter().map(|&axis| y[axis] as f32 / x[axis] as f32);
        let given = |idx: usize| call.has_input(idx) && !call.sizes(idx).contains(&0);
        if !given(self.sizes_idx) {
            return match &self.scales {
                Scales::Attribute(scales) => Ok(scales.clone()),
                Scales::Input(idx) => {
                    let scales = call.constant(*idx).and_then(Tensor::to_f64s);
                    let scales = scales.ok_or("the scales are not constant")?;
                    Ok(scales.into_iter().map(|scale| scale as f32).collect())
                }
            };
        }
        if self.policy == Policy::Stretch {
            return Ok(ratios().collect());
        }
        // All axes have the scale of the one that fits best.
        let sizes = call.ints(self.sizes_idx)?;
        let pairs = sizes.iter().zip(axes);
        let asked = pairs.map(|(&size, &axis)| size as f32 / x[axis] as f32);
        let scale = match self.policy {
            Policy::NotLarger => asked.fold(f32::INFINITY, f32::min),
            _ => asked.fold(0.0, f32::max),
        };
        Ok(vec![scale; axes.len()])
    }

    fn by_scale(&self, scale: f32, axis: usize, size: &Dim) -> Result<Dim> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(Error::shape(
                "",
                format!("the scale of axis {axis} is {scale}"),
            ));
        }
        // Implementations differ in whether the scale is for the region or for the whole.
        if self.sampling.coordinates == Coordinates::Crop {
            Ok(Dim::Unknown)
        } else {
            scaled(size, scale)
        }
    }
}

/// `floor(size * scale)`; of sizes that are no numbers only where that is exact.
fn scaled(size: &Dim, scale: f32) -> Result<Dim> {
    if let Some(size) = size.value() {
        return whole((size as f32 * scale).floor());
    }
    let inverse = scale.recip();
    let is_whole = |x: f32| x.fract() == 0.0 && (1.0..MAX_SIZE).contains(&x);
    if is_whole(scale) {
        return Ok(size * scale as i64);
    }
    if is_whole(inverse) && (inverse as i64).count_ones() == 1 {
        return Ok(size.floor_div(&Dim::Size(inverse as i64)));
    }
    Ok(Dim::Unknown)
}

/// # Errors
/// `SHAPE_MISMATCH` when the number is no size.
fn whole(size: f32) -> Result<Dim> {
    if (0.0..=MAX_SIZE).contains(&size) {
        return Ok(Dim::Size(size as i64));
    }
    Err(Error::shape("", format!("the scaled size is {size}")))
}
