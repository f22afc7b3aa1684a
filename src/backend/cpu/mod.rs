//! The `cpu` backend: rten, which reads the prepared graph as ONNX.
//!
//! rten computes with f32, i32, i8 and u8. Values of other types are carried in the nearest of
//! these and come back in the type that the model declares; integers that do not fit are refused.

mod convert;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use rten::{Model, ModelOptions, NodeId as RtenId, RunErrorKind, ShapeInferenceMode, ValueOrView};

use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, NodeId};
use crate::model::onnx::{WriteOptions, write};
use crate::tensor::{DType, Tensor};

pub use support::refusal;

/// A graph that is loaded and ready to run.
pub struct CpuModel {
    model: Model,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// What errors call the node that was written as `#n`.
    labels: Vec<String>,
}

struct Port {
    name: String,
    id: RtenId,
    dtype: Option<DType>,
}

/// # Errors
/// `MODEL_UNSUPPORTED` when rten does not take the graph.
pub fn load(graph: &Graph) -> Result<CpuModel> {
    guard("load", || load_unguarded(graph))
}

fn load_unguarded(graph: &Graph) -> Result<CpuModel> {
    // rten keeps nodes and values in one table of names, where ONNX lets the two overlap.
    let mut numbered = graph.clone();
    let mut labels = Vec::new();
    number_nodes(&mut numbered, &mut labels);
    let options = WriteOptions {
        external: true,
        ..WriteOptions::default()
    };
    let written = write(&numbered, &options)?;
    drop(numbered);
    let mut options = ModelOptions::with_all_ops();
    // The graph brings its facts along, and rten's own inference panics at shapes that do not fit.
    options.shape_inference(ShapeInferenceMode::Off);
    for (location, bytes) in written.external {
        options.external_data(&location, bytes.into());
    }
    let model = options.load(written.model).map_err(|error| {
        let at = error
            .node()
            .map_or(String::new(), |name| label(&labels, name));
        Error::unsupported(at, format!("the cpu backend does not take it: {error}"))
    })?;
    let port = |value, id: Option<&RtenId>| {
        let value = graph.value(value);
        let why = "rten has another number of inputs or outputs";
        Ok(Port {
            name: value.name.to_string(),
            id: *id.ok_or_else(|| Error::internal(&*value.name, why))?,
            dtype: value.fact.dtype,
        })
    };
    let ports = |values: &[crate::graph::ValueId], ids: &[RtenId]| -> Result<Vec<Port>> {
        let numbered = values.iter().enumerate();
        numbered
            .map(|(idx, &value)| port(value, ids.get(idx)))
            .collect()
    };
    Ok(CpuModel {
        inputs: ports(&graph.inputs, model.input_ids())?,
        outputs: ports(&graph.outputs, model.output_ids())?,
        model,
        labels,
    })
}

/// Names every node `#n`, bodies included, and keeps what people call it.
fn number_nodes(graph: &mut Graph, labels: &mut Vec<String>) {
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        let node = graph.node_mut(id);
        labels.push(node.label());
        node.name = format!("#{}", labels.len() - 1).into();
        for body in node.bodies.values_mut() {
            number_nodes(body, labels);
        }
    }
}

fn label(labels: &[String], name: &str) -> String {
    let idx = name
        .strip_prefix('#')
        .and_then(|digits| digits.parse::<usize>().ok());
    let label = idx.and_then(|idx| labels.get(idx));
    label.cloned().unwrap_or_else(|| name.to_owned())
}

impl CpuModel {
    pub fn output_names(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|port| port.name.as_str())
    }

    /// Runs the graph; the outputs come in the order of `fetches`.
    ///
    /// # Errors
    /// `INVALID_INPUT` for names that the graph does not have and integers beyond 32 bits,
    /// `SHAPE_MISMATCH` or `MODEL_UNSUPPORTED` naming the node that cannot run.
    pub fn run(&self, feeds: &[(&str, &Tensor)], fetches: &[&str]) -> Result<Vec<Tensor>> {
        guard("run", || self.run_unguarded(feeds, fetches))
    }

    fn run_unguarded(&self, feeds: &[(&str, &Tensor)], fetches: &[&str]) -> Result<Vec<Tensor>> {
        let mut values: Vec<(RtenId, ValueOrView)> = Vec::with_capacity(feeds.len());
        for (name, tensor) in feeds {
            let port = find(&self.inputs, name, "input")?;
            let value = convert::to_rten(tensor).map_err(|error| error.within(name))?;
            values.push((port.id, value.into()));
        }
        let outputs: Vec<&Port> = fetches
            .iter()
            .map(|name| find(&self.outputs, name, "output"))
            .collect::<Result<_>>()?;
        let ids: Vec<RtenId> = outputs.iter().map(|port| port.id).collect();
        let results = self.model.run(values, &ids, None).map_err(|error| {
            let path = error.node_path();
            let at: Vec<String> = path
                .into_iter()
                .flatten()
                .map(|name| label(&self.labels, name))
                .collect();
            let why = error.to_string();
            let kind = match error.kind() {
                RunErrorKind::OperatorError if why.contains("unsupported") => {
                    ErrorKind::ModelUnsupported
                }
                RunErrorKind::OperatorError | RunErrorKind::InvalidInput => {
                    ErrorKind::ShapeMismatch
                }
                _ => ErrorKind::Internal,
            };
            Error::new(kind, at.join(", "), why)
        })?;
        let pairs = outputs.iter().zip(results);
        pairs
            .map(|(port, value)| {
                convert::from_rten(value, port.dtype).map_err(|error| error.within(&port.name))
            })
            .collect()
    }
}

/// Computes the outputs of a graph without inputs, for constant folding.
///
/// # Errors
/// As [`load`] and [`CpuModel::run`].
pub fn evaluate(graph: &Graph) -> Result<Vec<Tensor>> {
    if let Some((id, why)) = graph
        .nodes()
        .find_map(|(id, _)| Some((id, refusal(graph, id)?)))
    {
        return Err(Error::unsupported(graph.node(id).label(), why));
    }
    let model = load(graph)?;
    let fetches: Vec<&str> = model
        .outputs
        .iter()
        .map(|port| port.name.as_str())
        .collect();
    model.run(&[], &fetches)
}

fn find<'a>(ports: &'a [Port], name: &str, what: &str) -> Result<&'a Port> {
    let port = ports.iter().find(|port| port.name == name);
    port.ok_or_else(|| {
        let why = format!("the model has no {what} of this name");
        Error::new(ErrorKind::InvalidInput, name, why)
    })
}

/// Turns a panic inside rten into an error. WebAssembly aborts on a panic, so there the support
/// table must keep what panics away.
fn guard<T>(what: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("panic");
        Err(Error::internal(format!("cpu {what}"), text.to_owned()))
    })
}
