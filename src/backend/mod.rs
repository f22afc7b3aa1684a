//! What executes prepared graphs. Backends execute and decide nothing: the session asks
//! [`support`] first.

#[cfg(feature = "cpu")]
pub mod cpu;
pub mod support;
pub mod webgpu;
pub mod wonnx;
