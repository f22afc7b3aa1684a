//! From a picture to the tensor that a model wants, on the CPU.

use half::f16;

use super::resample::{cut, resize};
use super::spec::LUMA;
use super::{ColorOrder, Layout, Picture, Sampling, Spec};
use crate::error::Result;
use crate::tensor::{DType, Tensor};

/// # Errors
/// As [`Sampling::new`].
pub fn image_to_tensor(picture: &Picture, spec: &Spec) -> Result<Tensor> {
    let sampling = Sampling::new(spec, picture.width(), picture.height())?;
    let cut_out = sampling.cut.as_ref().map(|region| cut(picture, region));
    let picture = cut_out.as_ref().unwrap_or(picture);
    let rgb = resize(picture, &sampling.columns, &sampling.rows);
    let elements = elements(&sampling, &rgb);
    match sampling.dtype {
        DType::F32 => Tensor::from_vec(&sampling.dims, elements),
        DType::F16 => {
            let halves: Vec<f16> = elements.into_iter().map(f16::from_f32).collect();
            Tensor::from_vec(&sampling.dims, halves)
        }
        _ => {
            // A cast from float to integer keeps within the integer's range.
            let rounded = elements.iter().map(|value| value.round() as u8);
            Tensor::from_vec(&sampling.dims, rounded.collect::<Vec<u8>>())
        }
    }
}

/// The elements of a tensor around and in the resized picture.
fn elements(sampling: &Sampling, rgb: &[f32]) -> Vec<f32> {
    let (columns, rows) = (&sampling.columns, &sampling.rows);
    let n_pixels = columns.size * rows.size;
    let n_channels = sampling.channels.len();
    let mut elements = vec![0.0; n_pixels * n_channels];
    for (idx, channel) in sampling.channels.iter().enumerate() {
        let (start, step) = match sampling.layout {
            Layout::Nchw => (idx * n_pixels, 1),
            Layout::Nhwc => (idx, n_channels),
        };
        if sampling.has_margins() {
            let margin = channel.element(channel.fill);
            let targets = elements[start..].iter_mut().step_by(step);
            targets.take(n_pixels).for_each(|target| *target = margin);
        }
        for (row, pixels) in rgb.chunks_exact(columns.taps.len() * 3).enumerate() {
            let first = (rows.start + row) * columns.size + columns.start;
            let targets = elements[start + first * step..].iter_mut().step_by(step);
            for (target, pixel) in targets.zip(pixels.chunks_exact(3)) {
                let value = match sampling.order {
                    ColorOrder::Rgb => pixel[idx],
                    ColorOrder::Bgr => pixel[2 - idx],
                    ColorOrder::Gray => pixel.iter().zip(LUMA).map(|(v, weight)| v * weight).sum(),
                };
                // In f64, 102 / 255 is still 0.4 after rounding.
                *target = channel.element(value.into());
            }
        }
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::picture::{Fit, Region};

    fn spec(dims: &[usize]) -> Spec {
        Spec {
            dims: dims.to_vec(),
            layout: Layout::Nchw,
            dtype: DType::F32,
            scale: None,
            mean: vec![],
            std: vec![],
            fit: Fit::Stretch,
            fill: vec![],
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
    fn a_letterbox_is_filled_with_a_pixel_that_is_normalised_too() {
        let white = Picture::from_rgba(1, 2, vec![255; 8]).unwrap();
        let letterbox = Spec {
            fit: Fit::Letterbox,
            fill: vec![51.0, 102.0, 0.0],
            mean: vec![0.2],
            ..spec(&[3, 2, 2])
        };
        let values = values(&white, &letterbox);
        let margins: Vec<f32> = values.chunks(2).step_by(2).map(|row| row[1]).collect();
        assert_eq!(margins, [0.0, 0.2, -0.2]);
    }

    #[test]
    fn halves_are_the_nearest_to_floats() {
        let half = Spec {
            dtype: DType::F16,
            ..spec(&[3, 1, 2])
        };
        let tensor = image_to_tensor(&two_pixels(), &half).unwrap();
        let halves = tensor.elements::<f16>().unwrap();
        assert_eq!(halves[3], f16::from_f32(0.4));
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
