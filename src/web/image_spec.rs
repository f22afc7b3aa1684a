//! How a caller says what a picture becomes: the host's `ImageSpec`.

use serde::Deserialize;
use wasm_bindgen::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::picture::{ColorOrder, Fit, Layout, Region, Spec};
use crate::tensor::DType;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsSpec {
    dims: Vec<usize>,
    layout: JsLayout,
    #[serde(rename = "type")]
    dtype: String,
    scale: Option<f64>,
    #[serde(default)]
    mean: Vec<f64>,
    #[serde(default)]
    std: Vec<f64>,
    #[serde(default)]
    fit: JsFit,
    #[serde(default)]
    fill: Vec<f64>,
    color_order: Option<JsColorOrder>,
    region: Option<JsRegion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum JsLayout {
    Nchw,
    Nhwc,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JsFit {
    #[default]
    Stretch,
    Letterbox,
    Crop,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum JsColorOrder {
    Rgb,
    Bgr,
    Gray,
}

#[derive(Deserialize)]
struct JsRegion {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    #[serde(default)]
    angle: f64,
}

/// # Errors
/// `INVALID_INPUT` for another form.
pub fn spec_from_js(spec: JsValue) -> Result<Spec> {
    let invalid = |why: String| Error::new(ErrorKind::InvalidInput, "image spec", why);
    let spec: JsSpec =
        serde_wasm_bindgen::from_value(spec).map_err(|error| invalid(error.to_string()))?;
    let dtype = DType::from_name(&spec.dtype)
        .ok_or_else(|| invalid(format!("{:?} is no element type", spec.dtype)))?;
    Ok(Spec {
        dims: spec.dims,
        layout: match spec.layout {
            JsLayout::Nchw => Layout::Nchw,
            JsLayout::Nhwc => Layout::Nhwc,
        },
        dtype,
        scale: spec.scale,
        mean: spec.mean,
        std: spec.std,
        fit: match spec.fit {
            JsFit::Stretch => Fit::Stretch,
            JsFit::Letterbox => Fit::Letterbox,
            JsFit::Crop => Fit::Crop,
        },
        fill: spec.fill,
        color_order: spec.color_order.map(|order| match order {
            JsColorOrder::Rgb => ColorOrder::Rgb,
            JsColorOrder::Bgr => ColorOrder::Bgr,
            JsColorOrder::Gray => ColorOrder::Gray,
        }),
        region: spec.region.map(|region| Region {
            x: region.x,
            y: region.y,
            width: region.width,
            height: region.height,
            angle: region.angle,
        }),
    })
}
