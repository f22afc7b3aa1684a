//! The ONNX format: `ModelProto` of onnx.proto (IR versions 3 to 14) to and from [`Graph`].
//!
//! Reading goes bytes, [`proto`] (wire format), [`schema`] (messages), [`build`] (graph with
//! model-local functions inlined), verifier. Tensors stay slices of the file.
//!
//! [`Graph`]: crate::graph::Graph

mod build;
mod encode;
mod external;
mod functions;
mod proto;
mod read;
mod schema;
mod tensor;
mod write;

#[cfg(not(target_arch = "wasm32"))]
pub use external::FolderExternal;
pub use external::{External, MapExternal, check_location};
pub use read::{external_locations, read, read_tensor_proto};
pub use write::{WriteOptions, Written, write};
