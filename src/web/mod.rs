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
