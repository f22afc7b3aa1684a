//! What a caller says about the tensor that a picture becomes.

use super::sampling::Region;
use crate::tensor::DType;

/// How a picture becomes a tensor: cut out `region`, fit it to the size in `dims`, and turn each
/// value of a pixel into `(value * scale - mean) / std`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `[1, c, h, w]` or `[c, h, w]` in `Nchw`, `[1, h, w, c]` or `[h, w, c]` in `Nhwc`; `[h, w]`
    /// is grey in either.
    pub dims: Vec<usize>,
    pub layout: Layout,
    /// `F32` or `F16`, or `U8`: rounded and kept in 0..=255.
    pub dtype: DType,
    /// Pixels have values in 0..=255; without a scale, floats are brought to 0..=1.
    pub scale: Option<f64>,
    /// One number for all channels, one per channel in the order of the tensor, or none: 0.
    pub mean: Vec<f64>,
    /// As `mean`; none: 1.
    pub std: Vec<f64>,
    pub fit: Fit,
    /// What a letterbox leaves free, as the value of a pixel; as `mean`; none: 0.
    pub fill: Vec<f64>,
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
    /// All of the picture, in the middle, `fill` around it.
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

/// What red, green and blue count in grey.
pub const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

impl ColorOrder {
    pub fn n_channels(self) -> usize {
        match self {
            ColorOrder::Rgb | ColorOrder::Bgr => 3,
            ColorOrder::Gray => 1,
        }
    }
}
