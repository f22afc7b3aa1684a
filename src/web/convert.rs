//! JavaScript values to the engine's and back.

use bytes::Bytes;
use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use super::set;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Data, Tensor};

/// `{ type, dims, data }` with `data` as raw bytes or an array of strings.
///
/// # Errors
/// `INVALID_INPUT` for another form, `SHAPE_MISMATCH` when data and dims disagree.
pub fn tensor_from_js(value: &JsValue, at: &str) -> Result<Tensor> {
    let wrong = |why: &str| Error::new(ErrorKind::InvalidInput, at, why.to_owned());
    let name = field(value, "type").as_string().unwrap_or_default();
    let dtype =
        DType::from_name(&name).ok_or_else(|| wrong(&format!("{name:?} is no element type")))?;
    let dims: Array = field(value, "dims")
        .dyn_into()
        .map_err(|_| wrong("dims is no array"))?;
    let shape = sizes_from_js(&dims).ok_or_else(|| wrong("dims has something that is no size"))?;
    let data = field(value, "data");
    let tensor = if dtype == DType::Str {
        let strings: Array = data
            .dyn_into()
            .map_err(|_| wrong("data is no array of strings"))?;
        let strings: Option<Vec<String>> = strings.iter().map(|text| text.as_string()).collect();
        let strings = strings.ok_or_else(|| wrong("data has something that is no string"))?;
        Tensor::from_strings(&shape, strings)
    } else {
        let bytes: Uint8Array = data
            .dyn_into()
            .map_err(|_| wrong("data is no Uint8Array"))?;
        Tensor::from_bytes(dtype, &shape, Bytes::from(bytes.to_vec()))
    };
    tensor.map_err(|error| Error {
        at: at.to_owned(),
        ..error
    })
}

/// Sizes out of an array of numbers; `None` when one is negative, fractional or no number.
pub fn sizes_from_js(dims: &Array) -> Option<Vec<usize>> {
    let size = |dim: JsValue| {
        let number = dim.as_f64()?;
        (number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0)
            .then_some(number as usize)
    };
    dims.iter().map(size).collect()
}

pub fn sizes_to_js(sizes: &[usize]) -> Array {
    let sizes = sizes.iter().map(|&size| JsValue::from(size as f64));
    sizes.collect()
}

pub fn tensor_to_js(tensor: &Tensor) -> JsValue {
    let object = Object::new();
    let data: JsValue = match tensor.data() {
        Data::Bytes(bytes) => Uint8Array::from(&bytes[..]).into(),
        Data::Strings(strings) => strings
            .iter()
            .map(|text| JsValue::from(text))
            .collect::<Array>()
            .into(),
    };
    set(&object, "type", &tensor.dtype().long_name().into());
    set(&object, "dims", &sizes_to_js(tensor.sizes()));
    set(&object, "data", &data);
    object.into()
}

/// A record of tensors by name, in the order of the object's own keys.
#[cfg(any(feature = "cpu", feature = "wonnx"))]
pub fn tensors_from_js(record: &JsValue) -> Result<Vec<(String, Tensor)>> {
    let Some(record) = record.dyn_ref::<Object>() else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "feeds",
            "expected an object",
        ));
    };
    let entries = Object::entries(record);
    entries
        .iter()
        .map(|entry| {
            let entry = Array::from(&entry);
            let name = entry.get(0).as_string().unwrap_or_default();
            let tensor = tensor_from_js(&entry.get(1), &name)?;
            Ok((name, tensor))
        })
        .collect()
}

#[cfg(any(feature = "cpu", feature = "wonnx"))]
pub fn tensors_to_js<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> JsValue {
    let record = Object::new();
    for (name, tensor) in tensors {
        set(&record, name, &tensor_to_js(tensor));
    }
    record.into()
}

/// An `Error` whose `code` is the stable code.
pub fn error_to_js(error: Error) -> JsValue {
    let thrown = js_sys::Error::new(&error.to_string());
    set(&thrown, "code", &error.kind.code().into());
    thrown.into()
}

/// A property, or undefined.
pub fn field(value: &JsValue, name: &str) -> JsValue {
    Reflect::get(value, &name.into()).unwrap_or(JsValue::UNDEFINED)
}
