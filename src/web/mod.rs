//! The wasm-bindgen surface: one file per WebAssembly module, and nothing but conversions.

mod convert;
#[cfg(feature = "cpu")]
mod device;
#[cfg(feature = "cpu")]
mod differ;
#[cfg(feature = "cpu")]
mod engine;
#[cfg(feature = "cpu")]
mod failures;
#[cfg(feature = "cpu")]
mod gpu;
#[cfg(feature = "tools")]
mod tools;
#[cfg(feature = "wonnx")]
mod wonnx;
