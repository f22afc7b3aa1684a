//! What wonnx wants of a graph, whatever its nodes.

use super::ANY;
use crate::graph::{Graph, Source, Value};
use crate::tensor::{DType, Kind};

/// The versions of ONNX's operators in which wonnx's `Softmax` is ONNX's.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=15;

/// The longest path through a graph, in nodes, for which wonnx's recursion fits the stack.
pub(crate) const MAX_DEPTH: usize = if cfg!(target_arch = "wasm32") {
    500
} else {
    5_000
};

type Check = Result<(), String>;

/// Why wonnx does not take a graph whatever its nodes; `None` when it does.
pub fn graph_refusal(graph: &Graph) -> Option<String> {
    let checks: [fn(&Graph) -> Check; 4] = [opset, values, outputs, depth];
    checks
        .iter()
        .find_map(|check| check(graph).err())
        .map(|why| format!("wonnx: {why}"))
}

/// wonnx looks at no node's domain, and refuses a model that names another than ONNX's own.
fn opset(graph: &Graph) -> Check {
    match graph.opsets.iter().next() {
        Some((domain, version)) if graph.opsets.len() == 1 && domain.is_empty() => {
            if OPSETS.contains(version) {
                return Ok(());
            }
            Err(format!(
                "it knows ONNX's version 13, the graph is of {version}"
            ))
        }
        _ => Err("it has no operators but ONNX's own".into()),
    }
}

fn values(graph: &Graph) -> Check {
    for (_, value) in graph.values() {
        let at = |why: &str| Err(format!("{}: {why}", value.name));
        match &value.source {
            Source::Nothing => continue,
            Source::Capture => return at("it comes from a graph around this one"),
            Source::Input { default: Some(_) } => return at("it is an input with a default"),
            // What becomes an attribute may be empty: the nodes' rules tell.
            Source::Constant(tensor) => {
                if !ANY.contains(&tensor.dtype()) {
                    return at(&unknown_type(tensor.dtype()));
                }
                let wide = tensor.elements::<i64>();
                let fits = |wide: &i64| i32::try_from(*wide).is_ok();
                if wide.is_some_and(|wide| !wide.iter().all(fits)) {
                    return at("an integer does not fit into 32 bits");
                }
            }
            Source::Input { default: None } | Source::Node { .. } => made(value)?,
        }
    }
    Ok(())
}

/// A value has an element type of wonnx's and a fixed shape.
fn made(value: &Value) -> Check {
    let at = |why: &str| Err(format!("{}: {why}", value.name));
    if value.fact.kind != Kind::Tensor {
        return at("it is no tensor");
    }
    let Some(dtype) = value.fact.dtype else {
        return at("its element type is unknown");
    };
    if !ANY.contains(&dtype) {
        return at(&unknown_type(dtype));
    }
    match value.fact.sizes() {
        None => at("it has no fixed shape"),
        Some(sizes) if sizes.contains(&0) => at("it has no elements"),
        Some(_) => Ok(()),
    }
}

fn unknown_type(dtype: DType) -> String {
    format!("it has the type {dtype}, wonnx has f32, i32 and i64")
}

/// wonnx looks for outputs among those of nodes.
fn outputs(graph: &Graph) -> Check {
    let value = graph.outputs.iter().map(|&id| graph.value(id));
    let unmade = |value: &&Value| !matches!(value.source, Source::Node { .. });
    match value.into_iter().find(unmade) {
        Some(value) => Err(format!("{}: no node makes this output", value.name)),
        None => Ok(()),
    }
}

fn depth(graph: &Graph) -> Check {
    let order = graph.order().map_err(|error| error.to_string())?;
    let mut depths = vec![0_usize; graph.values().count()];
    let mut longest = 0;
    for id in order {
        let node = graph.node(id);
        let before = node
            .inputs
            .iter()
            .flatten()
            .map(|value| depths[value.idx()]);
        let depth = before.max().unwrap_or(0) + 1;
        for value in node.outputs.iter().flatten() {
            depths[value.idx()] = depth;
        }
        longest = longest.max(depth);
    }
    if longest > MAX_DEPTH {
        return Err(format!(
            "the longest path has {longest} nodes, it bears {MAX_DEPTH}"
        ));
    }
    Ok(())
}
