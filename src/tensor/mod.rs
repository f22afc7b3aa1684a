//! Element types, symbolic shapes and host tensors.

mod dim;
mod dtype;
mod fact;
mod host;

pub use dim::{Dim, Shape};
pub use dtype::DType;
pub use fact::{Fact, Kind, MAX_VALUE_ELEMENTS};
pub use host::{Data, Element, Tensor};
