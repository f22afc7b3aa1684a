//! From a picture to the tensor that a model wants.

use super::resample::{Region, Span, cut, resize};
use super::{Picture, invalid};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Tensor};

/// How a picture becomes a tensor: cut out `region`, fit it to the size in `dims`, and turn each
/// value of a pixel into `(value * scale - mean) / std`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `[1, c, h, w]` or `[c, h, w]` in `Nchw`, `[1, h, w, c]` or `[h, w, c]` in `Nhwc`; `[h, w]`
    /// is grey in either.
    pub dims: Vec<usize>,
    pub layout: Layout,
    /// `F32`, or `U8`: rounded and kept in 0..=255.
    pub dtype: DType,
    /// Pixels have values in 0..=255; without a scale, `F32` brings them to 0..=1.
    pub scale: Option<f64>,
    /// One number for all channels, one per channel in the order of the tensor, or none: 0.
    pub mean: Vec<f64>,
    /// As `mean`; none: 1.
    pub std: Vec<f64>,
    pub fit: Fit,
    /// Without it: grey for one channel, red-green-blue for three.
    pub color_order: Option<ColorOrder>,
    /// Without it: the whole picture.
    pub region: Option<Region>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Nchw,
    Nhwc,
}

/// What happens to a picture of another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Each axis is resized on its own.
    Stretch,
    /// All of the picture, in the middle, black around it.
    Letterbox,
    /// The middle of the picture, filling the tensor.
    Crop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorOrder {
    Rgb,
    Bgr,
    /// Luma as in ITU-R BT.601.
    Gray,
}

impl ColorOrder {
    fn n_channels(self) -> usize {
        match self {
            ColorOrder::Rgb | ColorOrder::Bgr => 3,
            ColorOrder::Gray => 1,
        }
    }
}

/// # Errors
/// `SHAPE_MISMATCH` when `dims` are not those of one picture, `DTYPE_MISMATCH` for other element
/// types, `INVALID_INPUT` for numbers that do not fit together, `TOO_LARGE` above
/// [`super::MAX_PIXELS`].
pub fn image_to_tensor(picture: &Picture, spec: &Spec) -> Result<Tensor> {
    if !matches!(spec.dtype, DType::F32 | DType::U8) {
        let why = format!("pictures become f32 or u8, not {}", spec.dtype);
        return Err(Error::dtype("image", why));
    }
    let (n_channels, height, width) = split_dims(&spec.dims, spec.layout)?;
    super::check_size(width, height)?;
    let order = match (spec.color_order, n_channels) {
        (Some(order), n) if order.n_channels() == n => order,
        (None, 1) => ColorOrder::Gray,
        (None, 3) => ColorOrder::Rgb,
        (order, n) => {
            let order = order.map_or(String::new(), |order| format!(" in the order {order:?}"));
            let why = format!("{:?} asks for {n} channels{order}", spec.dims);
            return Err(Error::shape("image", why));
        }
    };
    let default_scale = if spec.dtype == DType::F32 {
        1.0 / 255.0
    } else {
        1.0
    };
    let scale = spec.scale.unwrap_or(default_scale);
    let mean = per_channel("mean", &spec.mean, n_channels, 0.0)?;
    let std = per_channel("std", &spec.std, n_channels, 1.0)?;
    if !scale.is_finite() || std.contains(&0.0) {
        return Err(invalid(format!("scale {scale} and std {std:?}")));
    }

    let cut_out;
    let picture = match &spec.region {
        None => picture,
        Some(region) => {
            cut_out = cut(picture, region)?;
            &cut_out
        }
    };
    let rgb = fit(picture, spec.fit, width, height);

    let n_pixels = width * height;
    let mut elements = vec![0.0; n_pixels * n_channels];
    for channel in 0..n_channels {
        let (mean, std) = (mean[channel], std[channel]);
        let (start, step) = match spec.layout {
            Layout::Nchw => (channel * n_pixels, 1),
            Layout::Nhwc => (channel, n_channels),
        };
        let targets = elements[start..].iter_mut().step_by(step);
        for (target, pixel) in targets.zip(rgb.chunks_exact(3)) {
            let value = match order {
                ColorOrder::Rgb => pixel[channel],
                ColorOrder::Bgr => pixel[2 - channel],
                ColorOrder::Gray => 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2],
            };
            // In f64, 102 / 255 is still 0.4 after rounding.
            *target = ((f64::from(value) * scale - mean) / std) as f32;
        }
    }
    if spec.dtype == DType::F32 {
        return Tensor::from_vec(&spec.dims, elements);
    }
    // A cast from float to integer keeps within the integer's range.
    let rounded = elements.iter().map(|value| value.round() as u8);
    Tensor::from_vec(&spec.dims, rounded.collect::<Vec<u8>>())
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

fn per_channel(what: &str, given: &[f64], n_channels: usize, default: f64) -> Result<Vec<f64>> {
    if let Some(bad) = given.iter().find(|value| !value.is_finite()) {
        return Err(invalid(format!("{what} {bad}")));
    }
    match given {
        [] => Ok(vec![default; n_channels]),
        [one] => Ok(vec![*one; n_channels]),
        all if all.len() == n_channels => Ok(all.to_vec()),
        all => Err(Error::new(
            ErrorKind::InvalidInput,
            "image",
            format!("{} numbers as {what} for {n_channels} channels", all.len()),
        )),
    }
}

/// Red, green and blue of `width` x `height` pixels.
fn fit(picture: &Picture, fit: Fit, width: usize, height: usize) -> Vec<f32> {
    let (own_width, own_height) = (picture.width() as f64, picture.height() as f64);
    let whole = |length| Span { start: 0.0, length };
    let middle = |of: f64, length: f64| Span {
        start: (of - length) / 2.0,
        length,
    };
    let zoom_x = width as f64 / own_width;
    let zoom_y = height as f64 / own_height;
    match fit {
        Fit::Stretch => resize(picture, whole(own_width), whole(own_height), width, height),
        Fit::Crop => {
            let zoom = zoom_x.max(zoom_y);
            let columns = middle(own_width, width as f64 / zoom);
            let rows = middle(own_height, height as f64 / zoom);
            resize(picture, columns, rows, width, height)
        }
        Fit::Letterbox => {
            let zoom = zoom_x.min(zoom_y);
            let inner_width = ((own_width * zoom).round() as usize).clamp(1, width);
            let inner_height = ((own_height * zoom).round() as usize).clamp(1, height);
            let inner = resize(
                picture,
                whole(own_width),
                whole(own_height),
                inner_width,
                inner_height,
            );
            let (left, top) = ((width - inner_width) / 2, (height - inner_height) / 2);
            let mut outer = vec![0.0; width * height * 3];
            for (row, values) in inner.chunks_exact(inner_width * 3).enumerate() {
                let start = ((top + row) * width + left) * 3;
                outer[start..][..values.len()].copy_from_slice(values);
            }
            outer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dims: &[usize]) -> Spec {
        Spec {
            dims: dims.to_vec(),
            layout: Layout::Nchw,
            dtype: DType::F32,
            scale: None,
            mean: vec![],
            std: vec![],
            fit: Fit::Stretch,
            color_order: None,
            region: None,
        }
    }

    fn two_pixels() -> Picture {
        Picture::from_rgba(2, 1, vec![255, 0, 51, 255, 0, 102, 255, 255]).unwrap()
    }

    fn values(picture: &Picture, spec: &Spec) -> Vec<f32> {
        let tensor = image_to_tensor(picture, spec).unwrap();
        assert_eq!(tensor.sizes(), spec.dims);
        tensor.elements::<f32>().unwrap().into_owned()
    }

    #[test]
    fn channels_come_in_planes_or_per_pixel() {
        let planes = values(&two_pixels(), &spec(&[1, 3, 1, 2]));
        assert_eq!(planes, [1.0, 0.0, 0.0, 0.4, 0.2, 1.0]);
        let per_pixel = Spec {
            layout: Layout::Nhwc,
            ..spec(&[1, 1, 2, 3])
        };
        let per_pixel = values(&two_pixels(), &per_pixel);
        assert_eq!(per_pixel, [1.0, 0.0, 0.2, 0.0, 0.4, 1.0]);
    }

    #[test]
    fn colours_may_be_turned_round_or_grey() {
        let bgr = Spec {
            color_order: Some(ColorOrder::Bgr),
            ..spec(&[3, 1, 2])
        };
        assert_eq!(values(&two_pixels(), &bgr), [0.2, 1.0, 0.0, 0.4, 1.0, 0.0]);
        let grey = values(&two_pixels(), &spec(&[1, 2]));
        assert!((grey[0] - (0.299 + 0.114 * 0.2)).abs() < 1e-6, "{grey:?}");
    }

    #[test]
    fn values_are_scaled_then_shifted_then_divided() {
        let normal = Spec {
            scale: Some(1.0),
            mean: vec![1.0, 2.0, 3.0],
            std: vec![2.0],
            ..spec(&[3, 1, 2])
        };
        let expected = [127.0, -0.5, -1.0, 50.0, 24.0, 126.0];
        assert_eq!(values(&two_pixels(), &normal), expected);
    }

    #[test]
    fn bytes_keep_the_values_of_pixels() {
        let bytes = Spec {
            dtype: DType::U8,
            layout: Layout::Nhwc,
            ..spec(&[1, 2, 3])
        };
        let tensor = image_to_tensor(&two_pixels(), &bytes).unwrap();
        assert_eq!(tensor.bytes(), [255, 0, 51, 0, 102, 255]);
    }

    #[test]
    fn a_letterbox_is_black_around_the_middle() {
        let white = Picture::from_rgba(4, 2, vec![255; 32]).unwrap();
        let letterbox = Spec {
            fit: Fit::Letterbox,
            ..spec(&[4, 4])
        };
        let values = values(&white, &letterbox);
        let rows: Vec<f32> = values.chunks(4).map(|row| row[0].round()).collect();
        assert_eq!(rows, [0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_crop_leaves_out_the_ends() {
        let rgba = [0, 255, 255, 0].iter().flat_map(|&v| [v, v, v, 255]);
        let stripe = Picture::from_rgba(4, 1, rgba.collect()).unwrap();
        let crop = Spec {
            fit: Fit::Crop,
            ..spec(&[1, 1])
        };
        assert!(values(&stripe, &crop)[0] > 0.7);
        let stretch = values(&stripe, &spec(&[1, 1]))[0];
        assert!((0.4..0.7).contains(&stretch), "{stretch}");
    }

    #[test]
    fn a_region_is_cut_out_first() {
        let part = Spec {
            region: Some(Region::upright(1.0, 0.0, 1.0, 1.0)),
            ..spec(&[3, 1, 1])
        };
        assert_eq!(values(&two_pixels(), &part), [0.0, 0.4, 1.0]);
    }

    #[test]
    fn impossible_requests_are_refused() {
        let refused = |spec: Spec| image_to_tensor(&two_pixels(), &spec).unwrap_err().kind;
        for dims in [
            &[][..],
            &[4],
            &[2, 3, 4, 4],
            &[2, 4, 4],
            &[1, 4, 8, 8],
            &[1, 1, 3, 4, 4],
        ] {
            assert_eq!(refused(spec(dims)), ErrorKind::ShapeMismatch, "{dims:?}");
        }
        assert_eq!(refused(spec(&[0, 4])), ErrorKind::InvalidInput);
        assert_eq!(refused(spec(&[1 << 20, 1 << 20])), ErrorKind::TooLarge);
        let gray = Spec {
            color_order: Some(ColorOrder::Gray),
            ..spec(&[3, 4, 4])
        };
        assert_eq!(refused(gray), ErrorKind::ShapeMismatch);
        let float64 = Spec {
            dtype: DType::F64,
            ..spec(&[4, 4])
        };
        assert_eq!(refused(float64), ErrorKind::DtypeMismatch);
        let two_means = Spec {
            mean: vec![0.5, 0.5],
            ..spec(&[3, 4, 4])
        };
        assert_eq!(refused(two_means), ErrorKind::InvalidInput);
        let no_spread = Spec {
            std: vec![0.0],
            ..spec(&[3, 4, 4])
        };
        assert_eq!(refused(no_spread), ErrorKind::InvalidInput);
    }
}
