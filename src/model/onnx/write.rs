//! A graph as an ONNX file. The same graph gives the same bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::encode::Message;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Source, Value, ValueId};
use crate::ops::Attr;
use crate::tensor::{DType, Data, Dim, Fact, Kind, Tensor};

#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// 4 to 14. Before 4, no constant could be told from an input.
    pub ir_version: i64,
    /// Leave large weights out of the model, as [`Written::external`].
    pub external: bool,
    /// List the elements of `i64` tensors instead of writing them as raw data: wonnx reads raw data
    /// of that type as zeros.
    pub listed_i64: bool,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions {
            ir_version: 8,
            external: false,
            listed_i64: false,
        }
    }
}

/// A model file and the files beside it.
#[derive(Clone, Debug)]
pub struct Written {
    pub model: Vec<u8>,
    /// Weights by location, one tensor each; they share the graph's memory.
    pub external: Vec<(String, Bytes)>,
}

/// Smaller tensors stay in the model.
const EXTERNAL_BYTES: usize = 1024;

struct Writer {
    external: Option<Vec<(String, Bytes)>>,
    listed_i64: bool,
}

/// Writes a graph, with its constants as raw data unless the options say otherwise.
///
/// # Errors
/// `MODEL_PARSE` when the graph has a cycle or the IR version cannot be written,
/// `MODEL_UNSUPPORTED` for types that have no tensor.
pub fn write(graph: &Graph, options: &WriteOptions) -> Result<Written> {
    if !(4..=14).contains(&options.ir_version) {
        let why = format!(
            "IR version {} is not written, 4 to 14 are",
            options.ir_version
        );
        return Err(Error::parse("ir_version", why));
    }
    let mut writer = Writer {
        external: options.external.then(Vec::new),
        listed_i64: options.listed_i64,
    };
    let mut model = Message::default();
    model.int(1, options.ir_version);
    model.text(2, "sentinel-inference");
    model.text(3, env!("CARGO_PKG_VERSION"));
    model.message(7, writer.graph(graph)?);
    for (domain, version) in &graph.opsets {
        let mut opset = Message::default();
        opset.text(1, domain);
        opset.int(2, *version);
        model.message(8, opset);
    }
    Ok(Written {
        model: model.into_bytes(),
        external: writer.external.unwrap_or_default(),
    })
}

impl Writer {
    fn graph(&mut self, graph: &Graph) -> Result<Message> {
        let mut message = Message::default();
        for id in graph.order()? {
            let node = self.node(graph, graph.node(id));
            message.message(
                1,
                node.map_err(|error| error.within(graph.node(id).label()))?,
            );
        }
        // Readers and checkers want a name.
        message.text(
            2,
            if graph.name.is_empty() {
                "graph"
            } else {
                &graph.name
            },
        );
        for (_, value) in graph.values() {
            let tensor = match &value.source {
                Source::Constant(tensor)
                | Source::Input {
                    default: Some(tensor),
                } => tensor,
                _ => continue,
            };
            message.message(5, self.tensor(Some(&value.name), tensor));
        }
        for &id in &graph.inputs {
            message.message(11, value_info(graph.value(id))?);
        }
        for &id in &graph.outputs {
            message.message(12, value_info(graph.value(id))?);
        }
        for (id, value) in graph.values() {
            let is_made = matches!(value.source, Source::Node { .. });
            if is_made && value.fact.dtype.is_some() && !graph.outputs.contains(&id) {
                message.message(13, value_info(value)?);
            }
        }
        Ok(message)
    }

    fn node(&mut self, graph: &Graph, node: &Node) -> Result<Message> {
        let name = |value: &Option<ValueId>| -> Arc<str> {
            value.map_or_else(|| "".into(), |id| graph.value(id).name.clone())
        };
        let mut message = Message::default();
        for input in &node.inputs {
            message.text(1, &name(input));
        }
        for output in &node.outputs {
            message.text(2, &name(output));
        }
        message.text_if_any(3, &node.name);
        message.text(4, &node.op.name);
        for (name, attr) in node.attrs.iter() {
            message.message(5, self.attribute(name, attr)?);
        }
        for (name, body) in &node.bodies {
            let mut attribute = Message::default();
            attribute.text(1, name);
            attribute.message(6, self.graph(body)?);
            attribute.int(20, 5);
            message.message(5, attribute);
        }
        message.text_if_any(7, &node.op.domain);
        Ok(message)
    }

    fn attribute(&mut self, name: &str, attr: &Attr) -> Result<Message> {
        let mut message = Message::default();
        message.text(1, name);
        let kind = match attr {
            Attr::Float(value) => {
                message.float(2, *value);
                1
            }
            Attr::Int(value) => {
                message.int(3, *value);
                2
            }
            Attr::Str(bytes) => {
                message.chunk(4, bytes);
                3
            }
            Attr::Tensor(tensor) => {
                message.message(5, self.tensor(None, tensor));
                4
            }
            Attr::Floats(list) => {
                list.iter().for_each(|value| message.float(7, *value));
                6
            }
            Attr::Ints(list) => {
                list.iter().for_each(|value| message.int(8, *value));
                7
            }
            Attr::Strs(list) => {
                list.iter().for_each(|bytes| message.chunk(9, bytes));
                8
            }
            Attr::Type(fact) => {
                message.message(14, type_proto(fact)?);
                13
            }
        };
        message.int(20, kind);
        Ok(message)
    }

    /// A tensor; only named ones can lie outside the model.
    fn tensor(&mut self, name: Option<&str>, tensor: &Tensor) -> Message {
        let mut message = Message::default();
        for &size in tensor.sizes() {
            message.int(1, size as i64);
        }
        message.int(2, tensor.dtype().onnx().into());
        if let Data::Strings(strings) = tensor.data() {
            strings.iter().for_each(|text| message.text(6, text));
        }
        if let Some(name) = name {
            message.text(8, name);
        }
        if self.listed_i64
            && let Some(elements) = tensor.elements::<i64>()
        {
            elements.iter().for_each(|&element| message.int(7, element));
            return message;
        }
        let Data::Bytes(bytes) = tensor.data() else {
            return message;
        };
        match &mut self.external {
            Some(external) if name.is_some() && bytes.len() >= EXTERNAL_BYTES => {
                let location = format!("weights_{}.data", external.len());
                let length = bytes.len().to_string();
                let entries = [
                    ("location", &*location),
                    ("offset", "0"),
                    ("length", &length),
                ];
                for (key, value) in entries {
                    let mut entry = Message::default();
                    entry.text(1, key);
                    entry.text(2, value);
                    message.message(13, entry);
                }
                message.int(14, 1);
                external.push((location, bytes.clone()));
            }
            _ => message.shared(9, bytes),
        }
        message
    }
}

fn value_info(value: &Value) -> Result<Message> {
    let mut message = Message::default();
    message.text(1, &value.name);
    if value.fact.dtype.is_some() || value.fact.shape.is_some() || value.fact.kind != Kind::Tensor {
        let fact = type_proto(&value.fact).map_err(|error| error.within(&value.name))?;
        message.message(2, fact);
    }
    Ok(message)
}

fn type_proto(fact: &Fact) -> Result<Message> {
    let mut tensor = Message::default();
    tensor.int(1, fact.dtype.map_or(0, DType::onnx).into());
    if let Some(shape) = &fact.shape {
        let mut shape_message = Message::default();
        for dim in shape.iter() {
            let mut dim_message = Message::default();
            match dim {
                Dim::Size(size) => dim_message.int(1, *size),
                Dim::Unknown => {}
                // ONNX has names only: an expression becomes the name that it prints as.
                Dim::Symbol(name) => dim_message.text(2, name),
                Dim::Expr(_) => dim_message.text(2, &dim.to_string()),
            }
            shape_message.message(1, dim_message);
        }
        tensor.message(2, shape_message);
    }
    let mut message = Message::default();
    message.message(1, tensor);
    // The numbers of `sequence_type` and `optional_type` in `TypeProto`.
    let around: &[u32] = match fact.kind {
        Kind::Tensor => &[],
        Kind::Sequence => &[4],
        Kind::Optional => &[9],
        Kind::OptionalSequence => &[4, 9],
        Kind::Other => {
            return Err(Error::unsupported(
                "",
                "a map or a sparse tensor cannot be written",
            ));
        }
    };
    for &number in around {
        let mut inner = Message::default();
        inner.message(1, message);
        message = Message::default();
        message.message(number, inner);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text;
    use crate::model::onnx::{MapExternal, read};

    #[test]
    fn listed_integers_are_read_back_and_are_not_raw_data() {
        let text = "const c: i64[3] = [-1, 300, 4611686018427387904]\ny = Identity(c)\noutput y";
        let graph = text::parse(text).unwrap();
        let of = |listed_i64: bool| {
            let options = WriteOptions {
                listed_i64,
                ..WriteOptions::default()
            };
            write(&graph, &options).unwrap().model
        };
        let raw = [-1_i64, 300, 1 << 62].map(i64::to_le_bytes).concat();
        let has_raw = |model: &[u8]| model.windows(raw.len()).any(|bytes| bytes == raw);
        assert!(has_raw(&of(false)) && !has_raw(&of(true)));
        let model = read(Bytes::from(of(true)), &MapExternal::default()).unwrap();
        let c = model.graph.find("c").unwrap();
        let elements = model.graph.constant(c).unwrap().to_i64s();
        assert_eq!(elements, Some(vec![-1, 300, 1 << 62]));
    }
}
