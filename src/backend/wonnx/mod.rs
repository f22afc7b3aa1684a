//! The `wonnx` backend: which graphs it takes ([`support`], in every build, since the engine
//! decides), and their execution (feature `wonnx`).

#[cfg(feature = "wonnx")]
mod exec;
mod support;

#[cfg(feature = "wonnx")]
pub use exec::WonnxSession;
pub use support::{graph_refusal, refusal};
