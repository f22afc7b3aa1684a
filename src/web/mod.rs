//! The wasm-bindgen surface: one file per WebAssembly module, and nothing but conversions.

mod convert;
#[cfg(feature = "cpu")]
mod engine;
#[cfg(feature = "tools")]
mod tools;
#[cfg(feature = "wonnx")]
mod wonnx;
