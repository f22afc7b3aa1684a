//! From a description and the size of a picture to numbers: which pixels make which element.
//!
//! The loops for the CPU (`resample`, `to_tensor`) and the shaders (`shaders`) only carry them out.

use super::spec::{ColorOrder, Fit, Layout, Spec};
use super::{check_size, invalid};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// A rectangle of a picture, in pixels, turned about its own centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// The left edge before turning.
    pub x: f64,
    /// The upper edge before turning.
    pub y: f64,
    pub width: f64,
    pub height: f64,
    /// Radians; positive is clockwise, as y points down.
    pub angle: f64,
}

impl Region {
    pub fn upright(x: f64, y: f64, width: f64, height: f64) -> Region {
        Region {
            x,
            y,
            width,
            height,
            angle: 0.0,
        }
    }
}

/// How every element of a tensor comes out of a picture of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    pub dims: Vec<usize>,
    pub dtype: DType,
    pub layout: Layout,
    pub order: ColorOrder,
    /// What is cut out first.
    pub cut: Option<Cut>,
    pub columns: Axis,
    pub rows: Axis,
    /// In the order of the tensor.
    pub channels: Vec<Channel>,
}

/// A region that is set upright at its own size. Its pixel in column `c` and row `r` is about the
/// point `origin + c * across + r * down` of the picture, each as `[x, y]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    pub width: usize,
    pub height: usize,
    pub origin: [f64; 2],
    pub across: [f64; 2],
    pub down: [f64; 2],
}

/// One axis of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub size: usize,
    /// Where the picture begins in it: behind the margin of a letterbox.
    pub start: usize,
    /// What makes each element from there on.
    pub taps: Vec<Taps>,
}

/// The source pixels that make one output pixel; the weights add up to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    pub start: usize,
    pub weights: Vec<f32>,
}

/// An element is `value * factor + shift`, where `value` is that of a pixel or, around a letterbox,
/// `fill`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    pub factor: f64,
    pub shift: f64,
    pub fill: f64,
}

impl Sampling {
    /// # Errors
    /// `SHAPE_MISMATCH` when `dims` are not those of one picture, `DTYPE_MISMATCH` for other
    /// element types, `INVALID_INPUT` for numbers that do not fit together and for regions without
    /// pixels, `TOO_LARGE` above [`super::MAX_PIXELS`].
    pub fn new(spec: &Spec, width: usize, height: usize) -> Result<Sampling> {
        check_size(width, height)?;
        let is_float = matches!(spec.dtype, DType::F32 | DType::F16);
        if !is_float && spec.dtype != DType::U8 {
            let why = format!("pictures become f32, f16 or u8, not {}", spec.dtype);
            return Err(Error::dtype("image", why));
        }
        let (n_channels, n_rows, n_columns) = split_dims(&spec.dims, spec.layout)?;
        check_size(n_columns, n_rows)?;
        let order = color_order(spec, n_channels)?;
        let default_scale = if is_float { 1.0 / 255.0 } else { 1.0 };
        let scale = spec.scale.unwrap_or(default_scale);
        let mean = per_channel("mean", &spec.mean, n_channels, 0.0)?;
        let std = per_channel("std", &spec.std, n_channels, 1.0)?;
        let fill = per_channel("fill", &spec.fill, n_channels, 0.0)?;
        if !scale.is_finite() || std.contains(&0.0) {
            return Err(invalid(format!("scale {scale} and std {std:?}")));
        }
        let channel = |idx: usize| Channel {
            factor: scale / std[idx],
            shift: -mean[idx] / std[idx],
            fill: fill[idx],
        };
        let cut = spec.region.as_ref().map(Cut::new).transpose()?;
        let (width, height) = cut
            .as_ref()
            .map_or((width, height), |cut| (cut.width, cut.height));
        let (columns, rows) = fit(spec.fit, (width, height), (n_columns, n_rows));
        Ok(Sampling {
            dims: spec.dims.clone(),
            dtype: spec.dtype,
            layout: spec.layout,
            order,
            cut,
            columns,
            rows,
            channels: (0..n_channels).map(channel).collect(),
        })
    }

    /// True where something of the tensor is no part of the picture.
    pub fn has_margins(&self) -> bool {
        [&self.columns, &self.rows]
            .iter()
            .any(|axis| axis.taps.len() < axis.size)
    }
}

impl Cut {
    /// # Errors
    /// `INVALID_INPUT` for a region without pixels, `TOO_LARGE` for one beyond the limit of
    /// pictures.
    pub fn new(region: &Region) -> Result<Cut> {
        let Region {
            x,
            y,
            width,
            height,
            angle,
        } = *region;
        if ![x, y, width, height, angle].iter().all(|n| n.is_finite()) {
            return Err(invalid("a region with a number that is not finite"));
        }
        let (n_columns, n_rows) = (width.round() as usize, height.round() as usize);
        check_size(n_columns, n_rows).map_err(|error| error.within("region"))?;
        // Single precision is a hundredth of a pixel at the longest side, and has its code already.
        let (sin, cos) = (angle as f32).sin_cos();
        let (sin, cos) = (f64::from(sin), f64::from(cos));
        let (step_x, step_y) = (width / n_columns as f64, height / n_rows as f64);
        // From the centre to the middle of the first pixel.
        let (right, below) = ((step_x - width) / 2.0, (step_y - height) / 2.0);
        Ok(Cut {
            width: n_columns,
            height: n_rows,
            origin: [
                x + width / 2.0 + right * cos - below * sin,
                y + height / 2.0 + right * sin + below * cos,
            ],
            across: [step_x * cos, step_x * sin],
            down: [-step_y * sin, step_y * cos],
        })
    }

    pub fn point(&self, column: usize, row: usize) -> [f64; 2] {
        let along =
            |i: usize| self.origin[i] + column as f64 * self.across[i] + row as f64 * self.down[i];
        [along(0), along(1)]
    }
}

impl Axis {
    /// All source pixels in `n_output` elements of `size`, in the middle.
    pub(super) fn whole(size: usize, n_output: usize, n_source: usize) -> Axis {
        Axis::new(size, n_output, 0.0, n_source as f64, n_source)
    }

    /// Resizes `length` source pixels of `n_source` from `from` on to `n_output` elements of `size`
    /// in all, in the middle.
    ///
    /// The filter is a triangle as wide as the source pixels that fall on one of the output, at
    /// least two: linear interpolation when enlarging, a weighted mean when reducing.
    fn new(size: usize, n_output: usize, from: f64, length: f64, n_source: usize) -> Axis {
        let step = length / n_output as f64;
        let reach = step.max(1.0);
        let taps = |idx: usize| {
            let center = from + (idx as f64 + 0.5) * step;
            let start = ((center - reach).floor().max(0.0) as usize).min(n_source - 1);
            let end = ((center + reach).ceil().max(0.0) as usize).clamp(start + 1, n_source);
            let weights = (start..end).map(|source| {
                let distance = (source as f64 + 0.5 - center).abs() / reach;
                (1.0 - distance).max(0.0)
            });
            let weights: Vec<f64> = weights.collect();
            let sum: f64 = weights.iter().sum();
            Taps {
                start,
                weights: weights.iter().map(|weight| (weight / sum) as f32).collect(),
            }
        };
        Axis {
            size,
            start: (size - n_output) / 2,
            taps: (0..n_output).map(taps).collect(),
        }
    }

    /// The source pixels that it reads: from the first to behind the last.
    pub fn source(&self) -> std::ops::Range<usize> {
        let start = self.taps.iter().map(|taps| taps.start).min().unwrap_or(0);
        start..self.taps.iter().map(Taps::end).max().unwrap_or(0)
    }
}

impl Taps {
    pub fn end(&self) -> usize {
        self.start + self.weights.len()
    }
}

impl Channel {
    pub fn element(&self, value: f64) -> f32 {
        (value * self.factor + self.shift) as f32
    }
}

/// Columns and rows of a picture of this size in a tensor of that.
fn fit(fit: Fit, (width, height): (usize, usize), (columns, rows): (usize, usize)) -> (Axis, Axis) {
    let zoom_x = columns as f64 / width as f64;
    let zoom_y = rows as f64 / height as f64;
    match fit {
        Fit::Stretch => (
            Axis::whole(columns, columns, width),
            Axis::whole(rows, rows, height),
        ),
        Fit::Crop => {
            let zoom = zoom_x.max(zoom_y);
            let middle = |size: usize, source: usize| {
                let length = size as f64 / zoom;
                Axis::new(size, size, (source as f64 - length) / 2.0, length, source)
            };
            (middle(columns, width), middle(rows, height))
        }
        Fit::Letterbox => {
            let zoom = zoom_x.min(zoom_y);
            let inner = |size: usize, source: usize| {
                let n_output = ((source as f64 * zoom).round() as usize).clamp(1, size);
                Axis::whole(size, n_output, source)
            };
            (inner(columns, width), inner(rows, height))
        }
    }
}

/// Channels, height and width.
fn split_dims(dims: &[usize], layout: Layout) -> Result<(usize, usize, usize)> {
    let one = match dims {
        [1, rest @ ..] if dims.len() == 4 => rest,
        _ => dims,
    };
    match (one, layout) {
        ([h, w], _) => Ok((1, *h, *w)),
        ([c, h, w], Layout::Nchw) | ([h, w, c], Layout::Nhwc) => Ok((*c, *h, *w)),
        _ => Err(Error::shape(
            "image",
            format!("one picture cannot be {dims:?} in the layout {layout:?}"),
        )),
    }
}

fn color_order(spec: &Spec, n_channels: usize) -> Result<ColorOrder> {
    match (spec.color_order, n_channels) {
        (Some(order), n) if order.n_channels() == n => Ok(order),
        (None, 1) => Ok(ColorOrder::Gray),
        (None, 3) => Ok(ColorOrder::Rgb),
        (order, n) => {
            let order = order.map_or(String::new(), |order| format!(" in the order {order:?}"));
            let why = format!("{:?} asks for {n} channels{order}", spec.dims);
            Err(Error::shape("image", why))
        }
    }
}

fn per_channel(what: &str, given: &[f64], n_channels: usize, default: f64) -> Result<Vec<f64>> {
    if let Some(bad) = given.iter().find(|value| !value.is_finite()) {
        return Err(invalid(format!("{what} {bad}")));
    }
    match given {
        [] => Ok(vec![default; n_channels]),
        [one] => Ok(vec![*one; n_channels]),
        all if all.len() == n_channels => Ok(all.to_vec()),
        all => Err(invalid(format!(
            "{} numbers as {what} for {n_channels} channels",
            all.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(n_source: usize, n_output: usize) -> Axis {
        Axis::whole(n_output, n_output, n_source)
    }

    #[test]
    fn the_same_size_takes_each_pixel_once() {
        for (idx, taps) in whole(5, 5).taps.iter().enumerate() {
            let taken = taps.weights.iter().position(|&weight| weight == 1.0);
            assert_eq!(taken.map(|at| taps.start + at), Some(idx), "{taps:?}");
        }
    }

    #[test]
    fn weights_add_up_to_one_at_every_size() {
        for (n_source, n_output) in [(1, 1), (1, 9), (9, 1), (7, 3), (3, 7), (640, 224)] {
            for taps in whole(n_source, n_output).taps {
                let sum: f32 = taps.weights.iter().sum();
                assert!(
                    (sum - 1.0).abs() < 1e-5,
                    "{n_source} to {n_output}: {taps:?}"
                );
                assert!(taps.end() <= n_source);
            }
        }
    }

    #[test]
    fn a_letterbox_stands_in_the_middle_and_a_crop_reads_the_middle() {
        let (columns, rows) = fit(Fit::Letterbox, (4, 2), (8, 8));
        assert_eq!((columns.start, columns.taps.len()), (0, 8));
        assert_eq!((rows.start, rows.taps.len()), (2, 4));
        let (columns, rows) = fit(Fit::Crop, (8, 2), (2, 2));
        assert_eq!((columns.source(), rows.source()), (2..6, 0..2));
    }

    #[test]
    fn a_cut_begins_at_the_middle_of_its_first_pixel() {
        let cut = Cut::new(&Region::upright(3.0, 1.0, 4.0, 2.0)).unwrap();
        assert_eq!((cut.width, cut.height), (4, 2));
        assert_eq!(cut.point(0, 0), [3.5, 1.5]);
        assert_eq!(cut.point(3, 1), [6.5, 2.5]);
    }
}
