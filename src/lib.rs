//! An ONNX inference engine for WebGPU and WebAssembly.
//!
//! Data flows one way: bytes, [`model`], [`graph`], [`passes`], plan, [`backend`], outputs.
//! [`session`] is the face that the hosts use.

pub mod backend;
pub mod error;
pub mod graph;
pub mod inspect;
pub mod kernel;
pub mod model;
pub mod ops;
pub mod passes;
pub mod picture;
pub mod plan;
pub mod schedule;
#[cfg(feature = "cpu")]
pub mod session;
pub mod tensor;
pub mod trace;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
mod web;
#[cfg(feature = "wire")]
pub mod wire;

pub use error::{Error, ErrorKind, Result};
pub use tensor::{DType, Tensor};
