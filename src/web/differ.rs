//! What backends compute on the way, and how far it is apart.

use js_sys::Object;
use wasm_bindgen::prelude::*;

use super::convert::{error_to_js, tensor_from_js, tensor_to_js};
use super::set;
use crate::inspect;
use crate::session::Observed;

/// `{ value, node, op, backend, kernel, tensor }`.
pub fn observed_to_js(observed: Observed) -> JsValue {
    let object = Object::new();
    let texts = [
        ("value", &*observed.value),
        ("node", &*observed.node),
        ("op", &*observed.op),
        ("backend", observed.provider.name()),
        ("kernel", &*observed.kernel),
    ];
    for (name, text) in texts {
        set(&object, name, &text.into());
    }
    set(&object, "tensor", &tensor_to_js(&observed.tensor));
    object.into()
}

/// How far two tensors are apart: `{ maxAbs, nOff, nElems, at, left, right }`, where an element is
/// off with `|left - right| > atol + rtol * |right|`.
#[wasm_bindgen]
pub fn difference(
    left: &JsValue,
    right: &JsValue,
    rtol: f64,
    atol: f64,
) -> Result<Object, JsValue> {
    let left = tensor_from_js(left, "left").map_err(error_to_js)?;
    let right = tensor_from_js(right, "right").map_err(error_to_js)?;
    let found = inspect::difference(&left, &right, rtol, atol);
    let object = Object::new();
    let numbers = [
        ("maxAbs", found.max_abs),
        ("nOff", found.n_off as f64),
        ("nElems", found.n_elems as f64),
        ("at", found.at as f64),
        ("left", found.left),
        ("right", found.right),
    ];
    for (name, number) in numbers {
        set(&object, name, &number.into());
    }
    Ok(object)
}
