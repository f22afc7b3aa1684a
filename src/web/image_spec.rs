//! How a caller says what a picture becomes: the host's `ImageSpec`.

use js_sys::Array;
use wasm_bindgen::prelude::*;

use super::convert::{field, sizes_from_js};
use crate::error::{Error, ErrorKind, Result};
use crate::picture::{ColorOrder, Fit, Layout, Region, Spec};
use crate::tensor::DType;

const LAYOUTS: [(&str, Layout); 2] = [("NCHW", Layout::Nchw), ("NHWC", Layout::Nhwc)];
const FITS: [(&str, Fit); 3] = [
    ("stretch", Fit::Stretch),
    ("letterbox", Fit::Letterbox),
    ("crop", Fit::Crop),
];
const ORDERS: [(&str, ColorOrder); 3] = [
    ("RGB", ColorOrder::Rgb),
    ("BGR", ColorOrder::Bgr),
    ("GRAY", ColorOrder::Gray),
];

/// # Errors
/// `INVALID_INPUT` for another form.
// By hand: what serde makes of it is three times as large, and every page fetches it.
pub fn spec_from_js(spec: &JsValue) -> Result<Spec> {
    let dims = given(spec, "dims").and_then(|dims| dims.dyn_into::<Array>().ok());
    let dims = dims.and_then(|dims| sizes_from_js(&dims));
    let dtype = text(spec, "type")?.and_then(|name| DType::from_name(&name));
    Ok(Spec {
        dims: dims.ok_or_else(|| wrong("dims", "an array of sizes"))?,
        layout: word(spec, "layout", &LAYOUTS)?.ok_or_else(|| wrong("layout", "NCHW or NHWC"))?,
        dtype: dtype.ok_or_else(|| wrong("type", "an element type"))?,
        scale: number(spec, "scale")?,
        mean: numbers(spec, "mean")?,
        std: numbers(spec, "std")?,
        fit: word(spec, "fit", &FITS)?.unwrap_or(Fit::Stretch),
        fill: numbers(spec, "fill")?,
        color_order: word(spec, "colorOrder", &ORDERS)?,
        region: given(spec, "region").map(region).transpose()?,
    })
}

fn region(region: JsValue) -> Result<Region> {
    let [x, y, width, height] = ["x", "y", "width", "height"]
        .map(|name| number(&region, name).and_then(|n| n.ok_or_else(|| wrong(name, "a number"))));
    Ok(Region {
        x: x?,
        y: y?,
        width: width?,
        height: height?,
        angle: number(&region, "angle")?.unwrap_or(0.0),
    })
}

/// A property that is there.
fn given(object: &JsValue, name: &str) -> Option<JsValue> {
    Some(field(object, name)).filter(|value| !value.is_undefined() && !value.is_null())
}

fn text(object: &JsValue, name: &str) -> Result<Option<String>> {
    let as_text = |value: JsValue| value.as_string().ok_or_else(|| wrong(name, "a string"));
    given(object, name).map(as_text).transpose()
}

fn number(object: &JsValue, name: &str) -> Result<Option<f64>> {
    let as_number = |value: JsValue| value.as_f64().ok_or_else(|| wrong(name, "a number"));
    given(object, name).map(as_number).transpose()
}

fn numbers(object: &JsValue, name: &str) -> Result<Vec<f64>> {
    let Some(value) = given(object, name) else {
        return Ok(Vec::new());
    };
    let numbers = value.dyn_into::<Array>().ok();
    let numbers = numbers.and_then(|all| all.iter().map(|each| each.as_f64()).collect());
    numbers.ok_or_else(|| wrong(name, "an array of numbers"))
}

fn word<T: Copy>(object: &JsValue, name: &str, words: &[(&str, T)]) -> Result<Option<T>> {
    let Some(given) = text(object, name)? else {
        return Ok(None);
    };
    let found = words.iter().find(|(word, _)| *word == given);
    let known = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>();
    let found = found.ok_or_else(|| wrong(name, &known().join(" or ")))?;
    Ok(Some(found.1))
}

fn wrong(name: &str, expected: &str) -> Error {
    let why = format!("{name}: expected {expected}");
    Error::new(ErrorKind::InvalidInput, "image spec", why)
}
