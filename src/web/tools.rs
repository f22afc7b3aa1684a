//! `tools.wasm`: pictures, NumPy files, and outputs made readable.

use js_sys::{Array, Map, Object, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use super::convert::{error_to_js, field, tensor_from_js, tensor_to_js};
use super::image_spec::spec_from_js;
use super::set;
use crate::error::{Error, ErrorKind, Result};
use crate::model::npy;
use crate::model::npz;
use crate::model::onnx::read_tensor_proto;
use crate::picture::{self, Picture, TextBox, TextBoxOptions};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsTextBoxOptions {
    threshold: Option<f32>,
    min_score: Option<f32>,
    unclip_ratio: Option<f64>,
    picture_width: Option<usize>,
    picture_height: Option<usize>,
    max_boxes: Option<usize>,
}

#[derive(Serialize)]
struct JsTextBox {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    angle: f64,
    score: f32,
}

#[derive(Serialize)]
struct JsReading {
    indices: Vec<u32>,
    score: f32,
}

#[derive(Serialize)]
struct JsRanked {
    index: usize,
    value: f64,
    probability: f64,
}

/// Decodes PNG, JPEG, BMP, GIF or WebP to `{ width, height, rgba }`.
#[wasm_bindgen(js_name = decodeImage)]
pub fn decode_image(bytes: &[u8]) -> Result<JsValue, JsValue> {
    let picture = picture::decode(bytes).map_err(error_to_js)?;
    let object = Object::new();
    set(&object, "width", &(picture.width() as f64).into());
    set(&object, "height", &(picture.height() as f64).into());
    set(&object, "rgba", &Uint8Array::from(picture.rgba()).into());
    Ok(object.into())
}

/// The tensor that `spec` asks for. `image` is a file's bytes or what `decodeImage` gives.
#[wasm_bindgen(js_name = imageToTensor)]
pub fn image_to_tensor(image: &JsValue, spec: JsValue) -> Result<JsValue, JsValue> {
    let tensor = picture_from_js(image).and_then(|image| {
        let spec = spec_from_js(&spec)?;
        picture::image_to_tensor(&image, &spec)
    });
    Ok(tensor_to_js(&tensor.map_err(error_to_js)?))
}

/// The lines of text in a detector's map of probabilities, in reading order.
#[wasm_bindgen(js_name = textBoxes)]
pub fn text_boxes(map: &JsValue, options: JsValue) -> Result<JsValue, JsValue> {
    let boxes = tensor_from_js(map, "text map").and_then(|map| {
        let options = text_box_options(options)?;
        picture::text_boxes(&map, &options)
    });
    let to_js = |TextBox { region, score }| JsTextBox {
        x: region.x,
        y: region.y,
        width: region.width,
        height: region.height,
        angle: region.angle,
        score,
    };
    let boxes: Vec<JsTextBox> = boxes.map_err(error_to_js)?.into_iter().map(to_js).collect();
    Ok(serde_wasm_bindgen::to_value(&boxes)?)
}

/// What a recogniser's scores read, per picture: `{ indices, score }`; class 0 is the blank.
#[wasm_bindgen(js_name = ctcGreedy)]
pub fn ctc_greedy(scores: &JsValue) -> Result<JsValue, JsValue> {
    let readings = tensor_from_js(scores, "ctc scores").and_then(|s| picture::ctc_greedy(&s));
    let readings = readings.map_err(error_to_js)?.into_iter();
    let readings: Vec<JsReading> = readings
        .map(|reading| JsReading {
            indices: reading.indices,
            score: reading.score,
        })
        .collect();
    Ok(serde_wasm_bindgen::to_value(&readings)?)
}

/// The `count` best classes of a classifier's output: `{ index, value, probability }`.
#[wasm_bindgen(js_name = topClasses)]
pub fn top_classes(scores: &JsValue, count: usize) -> Result<JsValue, JsValue> {
    let ranked = tensor_from_js(scores, "scores").and_then(|s| picture::top(&s, count));
    let ranked = ranked.map_err(error_to_js)?.into_iter();
    let ranked: Vec<JsRanked> = ranked
        .map(|ranked| JsRanked {
            index: ranked.index,
            value: ranked.value,
            probability: ranked.probability,
        })
        .collect();
    Ok(serde_wasm_bindgen::to_value(&ranked)?)
}

/// The arrays of a `.npz` file by name.
#[wasm_bindgen(js_name = readNpz)]
pub fn read_npz(bytes: &[u8]) -> Result<Map, JsValue> {
    let map = Map::new();
    for (name, tensor) in npz::read_npz(bytes).map_err(error_to_js)? {
        map.set(&name.into(), &tensor_to_js(&tensor));
    }
    Ok(map)
}

#[wasm_bindgen(js_name = writeNpz)]
pub fn write_npz(entries: &Map) -> Result<Vec<u8>, JsValue> {
    let mut arrays = Vec::new();
    for entry in entries.entries() {
        let entry = Array::from(&entry?);
        let name = entry.get(0).as_string().unwrap_or_default();
        let tensor = tensor_from_js(&entry.get(1), &name).map_err(error_to_js)?;
        arrays.push((name, tensor));
    }
    npz::write_npz(&arrays).map_err(error_to_js)
}

#[wasm_bindgen(js_name = readNpy)]
pub fn read_npy(bytes: &[u8]) -> Result<JsValue, JsValue> {
    Ok(tensor_to_js(&npy::read_npy(bytes).map_err(error_to_js)?))
}

#[wasm_bindgen(js_name = writeNpy)]
pub fn write_npy(tensor: &JsValue) -> Result<Vec<u8>, JsValue> {
    let tensor = tensor_from_js(tensor, "npy").map_err(error_to_js)?;
    npy::write_npy(&tensor).map_err(error_to_js)
}

/// An ONNX `TensorProto`: `{ name, tensor }`.
#[wasm_bindgen(js_name = readTensorProto)]
pub fn tensor_proto(bytes: &[u8]) -> Result<JsValue, JsValue> {
    let (name, tensor) = read_tensor_proto(bytes).map_err(error_to_js)?;
    let object = Object::new();
    set(&object, "name", &name.into());
    set(&object, "tensor", &tensor_to_js(&tensor));
    Ok(object.into())
}

fn invalid(at: &str, why: impl ToString) -> Error {
    Error::new(ErrorKind::InvalidInput, at, why.to_string())
}

fn picture_from_js(image: &JsValue) -> Result<Picture> {
    if let Some(bytes) = image.dyn_ref::<Uint8Array>() {
        return picture::decode(&bytes.to_vec());
    }
    let side = |name| field(image, name).as_f64().filter(|side| *side >= 0.0);
    let rgba = field(image, "rgba").dyn_into::<Uint8Array>().ok();
    match (side("width"), side("height"), rgba) {
        (Some(width), Some(height), Some(rgba)) => {
            Picture::from_rgba(width as usize, height as usize, rgba.to_vec())
        }
        _ => Err(invalid(
            "image",
            "neither a Uint8Array nor { width, height, rgba }",
        )),
    }
}

fn text_box_options(options: JsValue) -> Result<TextBoxOptions> {
    let given: JsTextBoxOptions = if options.is_undefined() || options.is_null() {
        JsTextBoxOptions::default()
    } else {
        serde_wasm_bindgen::from_value(options)
            .map_err(|error| invalid("text box options", error))?
    };
    let default = TextBoxOptions::default();
    Ok(TextBoxOptions {
        threshold: given.threshold.unwrap_or(default.threshold),
        min_score: given.min_score.unwrap_or(default.min_score),
        unclip_ratio: given.unclip_ratio.unwrap_or(default.unclip_ratio),
        picture_size: given.picture_width.zip(given.picture_height),
        max_boxes: given.max_boxes.unwrap_or(default.max_boxes),
    })
}
