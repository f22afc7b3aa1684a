//! Readers and writers of model files. Every byte in them is taken as hostile.

#[cfg(feature = "tools")]
pub mod npy;
#[cfg(feature = "tools")]
pub mod npz;
pub mod onnx;

use std::collections::BTreeMap;

use crate::graph::Graph;

/// A model as a file holds it: the graph and what the file says about itself.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub graph: Graph,
    pub meta: Meta,
}

/// What a model file says about itself; nothing here changes a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub ir_version: i64,
    pub producer_name: String,
    pub producer_version: String,
    pub domain: String,
    pub model_version: i64,
    pub doc: String,
    /// `metadata_props`: class names, authors, and whatever else exporters leave.
    pub properties: BTreeMap<String, String>,
}
