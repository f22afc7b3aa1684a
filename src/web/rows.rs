//! What a model does with the rows of a batch, for the host.

use js_sys::Object;
use wasm_bindgen::prelude::*;

use super::convert::set;
use super::engine::record;
use crate::passes::{Batch, Rows};

/// `{ inputs, outputs, batch, size?, joinable, reason }`, axes by name and null where there is none.
pub(super) fn rows_to_js(rows: &Rows) -> Object {
    let axes = |ports: &[(String, Option<usize>)]| {
        let axis = |axis: Option<usize>| axis.map_or(JsValue::NULL, |axis| (axis as f64).into());
        record(ports.iter().map(|(name, own)| (name.as_str(), axis(*own))))
    };
    let object = Object::new();
    set(&object, "inputs", &axes(&rows.inputs));
    set(&object, "outputs", &axes(&rows.outputs));
    let batch = match &rows.batch {
        Batch::Symbol(_) => "symbol",
        Batch::Fixed(n_rows) => {
            set(&object, "size", &(*n_rows as f64).into());
            "fixed"
        }
        Batch::None(_) => "none",
    };
    set(&object, "batch", &batch.into());
    set(&object, "joinable", &rows.joinable.is_ok().into());
    let reason = rows.joinable.as_ref().err();
    set(&object, "reason", &reason.map_or("", String::as_str).into());
    object
}
