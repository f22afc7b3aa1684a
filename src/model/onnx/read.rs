//! The ways into the reader.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::build::build;
use super::external::{External, MapExternal};
use super::proto::Source;
use super::schema::{GraphProto, ModelProto, NodeProto, TensorProto, Value};
use super::tensor::{location, place, tensor};
use crate::error::{Error, Result};
use crate::graph::verify;
use crate::model::{Meta, Model};
use crate::tensor::Tensor;

/// IR versions that are read; onnx.proto says what each one changed.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;

/// Reads a model. Weights stay slices of `bytes`, or of what `external` gives.
///
/// # Errors
/// `MODEL_PARSE` naming the message and byte, or the node or value, that is wrong;
/// `MODEL_UNSUPPORTED` for parts of ONNX that no backend takes; `TOO_LARGE` for models beyond the
/// reader's bounds; and what `external` gives.
pub fn read(bytes: Bytes, external: &dyn External) -> Result<Model> {
    check_magic(&bytes)?;
    let source = Source::new(bytes);
    let proto = ModelProto::read(source.root("ModelProto"))?;
    check_version(&proto)?;
    let graph = build(&proto, external)?;
    verify(&graph)?;
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let meta = Meta {
        ir_version: proto.ir_version,
        producer_name: proto.producer_name.to_owned(),
        producer_version: proto.producer_version.to_owned(),
        domain: proto.domain.to_owned(),
        model_version: proto.model_version,
        doc: proto.doc.to_owned(),
        properties: proto.properties.iter().map(own).collect(),
    };
    Ok(Model { graph, meta })
}

/// The files beside a model that it needs, as checked locations in alphabetical order.
///
/// # Errors
/// `MODEL_PARSE` when the bytes are no model or a location leads out of its folder.
pub fn external_locations(model: &[u8]) -> Result<Vec<String>> {
    check_magic(model)?;
    let source = Source::new(Bytes::copy_from_slice(model));
    let proto = ModelProto::read(source.root("ModelProto"))?;
    let mut locations = BTreeSet::new();
    if let Some(graph) = &proto.graph {
        graph_locations(graph, &mut locations)?;
    }
    for function in &proto.functions {
        node_locations(&function.nodes, &mut locations)?;
    }
    Ok(locations.into_iter().collect())
}

fn graph_locations(graph: &GraphProto, locations: &mut BTreeSet<String>) -> Result<()> {
    for tensor in &graph.initializers {
        tensor_location(tensor, locations)?;
    }
    node_locations(&graph.nodes, locations)
}

fn node_locations(nodes: &[NodeProto], locations: &mut BTreeSet<String>) -> Result<()> {
    for attribute in nodes.iter().flat_map(|node| &node.attributes) {
        match &attribute.value {
            Value::Tensor(tensor) => tensor_location(tensor, locations)?,
            Value::Graph(graph) => graph_locations(graph, locations)?,
            _ => {}
        }
    }
    Ok(())
}

fn tensor_location(tensor: &TensorProto, locations: &mut BTreeSet<String>) -> Result<()> {
    if tensor.is_external {
        locations.insert(location(tensor).map_err(|error| error.within(place(tensor)))?);
    }
    Ok(())
}

/// Reads a file that holds one `TensorProto`: its name and the tensor.
///
/// # Errors
/// `MODEL_PARSE` when the bytes are no tensor.
pub fn read_tensor_proto(bytes: &[u8]) -> Result<(String, Tensor)> {
    let source = Source::new(Bytes::copy_from_slice(bytes));
    let proto = TensorProto::read(source.root("TensorProto"))?;
    let tensor = tensor(&proto, &MapExternal::default())?;
    Ok((proto.name.to_owned(), tensor))
}

fn check_version(proto: &ModelProto) -> Result<()> {
    const PLACE: &str = "ModelProto.ir_version";
    let version = proto.ir_version;
    if version < 1 || proto.graph.is_none() {
        return Err(Error::parse(PLACE, "the bytes are not a whole ONNX model"));
    }
    if !IR_VERSIONS.contains(&version) {
        let why = format!(
            "IR version {version} is not read, {} to {} are",
            IR_VERSIONS.start(),
            IR_VERSIONS.end()
        );
        return Err(Error::unsupported(PLACE, why));
    }
    Ok(())
}

/// Says what a file is when it is a common thing other than a model.
fn check_magic(bytes: &[u8]) -> Result<()> {
    const OTHERS: &[(usize, &[u8], &str)] = &[
        (0, b"\x89PNG", "a PNG picture"),
        (0, b"\xff\xd8\xff", "a JPEG picture"),
        (0, b"PK\x03\x04", "a zip archive (perhaps PyTorch or NumPy)"),
        (0, b"\x1f\x8b", "a gzip archive"),
        (0, b"\x93NUMPY", "a NumPy array"),
        (0, b"\x80\x02", "a Python pickle"),
        (0, b"GGUF", "a GGUF model"),
        (0, b"ORTM", "an ONNX Runtime model"),
        (4, b"ORTM", "an ONNX Runtime model"),
        (4, b"TFL3", "a TensorFlow Lite model"),
        (8, b"{\"", "a safetensors file"),
        (
            0,
            b"version https://git-lfs",
            "a Git LFS pointer: the file itself was not fetched",
        ),
        (0, b"<", "a web page or XML"),
        (0, b"{", "JSON"),
    ];
    const PLACE: &str = "byte 0";
    if bytes.is_empty() {
        return Err(Error::parse(PLACE, "the model is empty"));
    }
    for (offset, magic, what) in OTHERS {
        if bytes
            .get(*offset..)
            .is_some_and(|rest| rest.starts_with(magic))
        {
            return Err(Error::parse(
                PLACE,
                format!("the bytes are {what}, not an ONNX model"),
            ));
        }
    }
    Ok(())
}
