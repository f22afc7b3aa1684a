//! The wasm-bindgen surface: one file per WebAssembly module, and nothing but conversions.

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
mod gpu;
#[cfg(feature = "web-gpu")]
mod rows;
#[cfg(feature = "tools")]
mod tools;
#[cfg(feature = "wonnx")]
mod wonnx;
