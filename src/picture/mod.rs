//! Pictures: decoding, and the way from a picture to a tensor and from outputs to answers.
//!
//! What a picture becomes is decided once, in [`Sampling`]; the CPU's loops and the shaders of a
//! GPU carry it out.

#[cfg(feature = "tools")]
mod decode;
#[cfg(feature = "tools")]
mod ocr;
#[cfg(feature = "tools")]
mod rectangle;
mod resample;
mod sampling;
mod shaders;
mod spec;
mod to_tensor;
#[cfg(feature = "tools")]
mod top;

#[cfg(feature = "tools")]
pub use decode::decode;
#[cfg(feature = "tools")]
pub use ocr::{Reading, TextBox, TextBoxOptions, ctc_greedy, text_boxes};
pub use sampling::{Axis, Channel, Cut, Region, Sampling, Taps};
pub use shaders::{Source, frame_to_tensor};
pub use spec::{ColorOrder, Fit, Layout, Spec};
pub use to_tensor::image_to_tensor;
#[cfg(feature = "tools")]
pub use top::{Ranked, top};

use crate::error::{Error, ErrorKind, Result};

/// The most pixels that a picture may have: 8192 x 8192.
pub const MAX_PIXELS: usize = 1 << 26;
/// The longest side that a picture may have.
pub const MAX_SIDE: usize = 1 << 16;

/// A picture: rows of pixels from top to bottom, each red, green, blue and opacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgba: Vec<u8>,
}

impl Picture {
    /// # Errors
    /// `INVALID_INPUT` when `rgba` is not `width * height * 4` bytes or there are no pixels,
    /// `TOO_LARGE` above [`MAX_PIXELS`].
    pub fn from_rgba(width: usize, height: usize, rgba: Vec<u8>) -> Result<Picture> {
        check_size(width, height)?;
        if rgba.len() != width * height * 4 {
            let why = format!("{} bytes cannot be {width} x {height} pixels", rgba.len());
            return Err(invalid(why));
        }
        Ok(Picture {
            width,
            height,
            rgba,
        })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn rgba(&self) -> &[u8] {
        &self.rgba
    }

    pub fn into_rgba(self) -> Vec<u8> {
        self.rgba
    }
}

fn check_size(width: usize, height: usize) -> Result<()> {
    let n_pixels = width.checked_mul(height);
    match n_pixels {
        Some(0) => Err(invalid(format!("{width} x {height} pixels"))),
        Some(n_pixels) if n_pixels <= MAX_PIXELS && width.max(height) <= MAX_SIDE => Ok(()),
        _ => Err(Error::new(
            ErrorKind::TooLarge,
            "image",
            format!(
                "{width} x {height} pixels, the limit is {MAX_SIDE} a side and {MAX_PIXELS} in all"
            ),
        )),
    }
}

fn invalid(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, "image", why)
}
