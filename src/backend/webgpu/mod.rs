//! The `webgpu` backend: plans carried out on a WebGPU device.
//!
//! [`Device`] is what it needs of one. Browsers, Node and Deno have theirs behind `web-sys`
//! (`src/web`), native programs one of wgpu's ([`native`]).

mod constants;
mod convert;
mod device;
mod exec;
mod memory;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub mod native;
mod null;
mod program;
mod run;

pub use device::{Bound, Command, Device, Shader, Usage};
pub use exec::{Executor, Feed, Fetched, HostPiece, LoadPiece, Loaded, Location};
pub use memory::{Gpu, GpuBuffer, GpuMemory};
pub use null::NullDevice;
pub use program::Program;
