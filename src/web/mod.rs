//! The wasm-bindgen surface: one file per WebAssembly module, and nothing but conversions.

#[cfg(any(feature = "tools", feature = "web-gpu", feature = "wonnx"))]
mod convert;
#[cfg(feature = "web-gpu")]
mod device;
#[cfg(feature = "web-gpu")]
mod differ;
#[cfg(feature = "web-gpu")]
mod engine;
#[cfg(feature = "web-gpu")]
mod failures;
#[cfg(feature = "web-gpu")]
mod frames;
#[cfg(feature = "web-gpu")]
mod gpu;
#[cfg(any(feature = "tools", feature = "web-gpu"))]
mod image_spec;
#[cfg(feature = "web-gpu")]
mod rows;
#[cfg(feature = "scheduler")]
mod scheduler;
#[cfg(feature = "tools")]
mod tools;
#[cfg(feature = "wonnx")]
mod wonnx;

fn set(object: &wasm_bindgen::JsValue, name: &str, value: &wasm_bindgen::JsValue) {
    // Only frozen objects and proxies refuse, and these objects are made here.
    let _ = js_sys::Reflect::set(object, &name.into(), value);
}
