//! Prepared graphs in the forms that wonnx 0.5.1 computes right.
//!
//! wonnx has about half of ONNX's operators, takes some of them only at certain sizes, and wants
//! every shape and secondary input fixed. What these rules leave alone is for the backend's table
//! to take or refuse.

mod conv;
mod elementwise;
mod matmul;
mod quantized;
mod reduce;
mod select;
mod widen;

use super::build::{self, Build, Formula};
use super::{Evaluate, Skip, expand, fold, windows};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId, Patch, Source, ValueId, infer};
use crate::ops::Attr;

/// wonnx's Softmax knows no later version, and its earlier ones mean something else.
const WONNX_OPSET: i64 = 13;

/// A graph that changes for this many rounds has rules that undo each other.
const MAX_ROUNDS: usize = 24;

type Rule = fn(&Build) -> Formula;

/// One line per operator; where an operator has several, the first that matches is applied.
/// A rule's result may be lowered further in the next round.
const LOWERINGS: &[(&str, Rule)] = &[
    ("AveragePool", conv::with_two_spatial_axes),
    ("BatchNormalization", conv::batch_normalization),
    ("Clip", elementwise::clip),
    ("Concat", select::concat),
    ("Conv", conv::with_two_spatial_axes),
    ("Conv", conv::for_three_by_three),
    ("ConvTranspose", conv::transposed),
    ("Erf", elementwise::erf),
    ("Expand", elementwise::expand),
    ("Gather", select::gather),
    ("Gemm", matmul::gemm),
    ("GlobalAveragePool", conv::global_average_pool),
    ("LeakyRelu", elementwise::leaky_relu),
    ("LogSoftmax", reduce::log_softmax),
    ("MatMul", matmul::matmul),
    ("Max", elementwise::bound),
    ("MaxPool", conv::with_two_spatial_axes),
    ("Min", elementwise::bound),
    ("Pad", select::pad),
    ("Pow", elementwise::pow),
    ("ReduceL1", reduce::reduce),
    ("ReduceL2", reduce::reduce),
    ("ReduceLogSum", reduce::reduce),
    ("ReduceLogSumExp", reduce::reduce),
    ("ReduceMax", reduce::reduce),
    ("ReduceMean", reduce::reduce),
    ("ReduceMin", reduce::reduce),
    ("ReduceProd", reduce::reduce),
    ("ReduceSum", reduce::reduce),
    ("ReduceSumSquare", reduce::reduce),
    ("Reshape", select::reshape),
    ("Resize", select::resize),
    ("Selu", elementwise::selu),
    ("Slice", select::slice),
    ("Split", select::split),
    ("Squeeze", select::to_reshape),
    ("Tile", select::tile),
    ("Unsqueeze", select::to_reshape),
    ("DequantizeLinear", quantized::rounded),
];

/// Operators that wonnx does not have and whose general formulas lead to ones that it has.
const EXPANDED: &[&str] = &[
    "CenterCropPad",
    "DepthToSpace",
    "Gelu",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "InstanceNormalization",
    "LayerNormalization",
    "Mean",
    "MeanVarianceNormalization",
    "Mish",
    "QLinearConv",
    "QLinearMatMul",
    "RMSNormalization",
    "SpaceToDepth",
    "Sum",
    "SwiGLU",
    "Swish",
];

/// Rewrites a prepared graph of fixed shapes; constants that the rules make are folded through
/// `evaluate`.
///
/// # Errors
/// What inference finds, which for a graph that was inferred before is nothing new.
pub fn lower_for_wonnx(graph: &mut Graph, evaluate: Evaluate) -> Result<()> {
    widen::widen_halves(graph);
    for _ in 0..MAX_ROUNDS {
        let changed = lower_nodes(graph)?;
        graph.remove_dead()?;
        if !changed {
            break;
        }
        fold::infer_and_fold(graph, evaluate)?;
    }
    finish(graph)
}

fn lower_nodes(graph: &mut Graph) -> Result<bool> {
    let mut changed = drop_unread_outputs(graph);
    for id in graph.order()? {
        if let Some(patch) = lowered(graph, id) {
            patch.apply(graph)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn lowered(graph: &Graph, id: NodeId) -> Option<Patch> {
    let node = graph.node(id);
    let op = &node.op;
    // wonnx has no empty tensors, and a size of 0 in a shape would mean another one.
    let is_empty = |value: &ValueId| {
        graph
            .value(*value)
            .fact
            .sizes()
            .is_some_and(|sizes| sizes.contains(&0))
    };
    let data = node.inputs.first().into_iter().chain(&node.outputs);
    if data.flatten().any(is_empty) {
        return None;
    }
    if !op.domain.is_empty() || EXPANDED.contains(&&*op.name) {
        return expand::expansion(graph, id).ok();
    }
    // Formulas may have made windows with defaults left open.
    if let Ok(patch) = (windows::PASS.rule)(graph, id) {
        return Some(patch);
    }
    let rules = LOWERINGS.iter().filter(|(name, _)| op.is(name));
    rules
        .into_iter()
        .find_map(|(_, rule)| build::replace(graph, id, *rule).ok())
}

/// wonnx computes every output that a node names, or fails on it.
fn drop_unread_outputs(graph: &mut Graph) -> bool {
    let readers = graph.readers();
    let mut changed = false;
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        while graph.node(id).outputs.len() > 1 {
            let last = graph.node(id).outputs.last().copied().flatten();
            let is_read =
                |value: ValueId| graph.outputs.contains(&value) || !readers[value.idx()].is_empty();
            if last.is_some_and(is_read) {
                break;
            }
            graph.node_mut(id).outputs.pop();
            if let Some(value) = last {
                graph.value_mut(value).source = Source::Nothing;
            }
            changed = true;
        }
    }
    changed
}

/// The forms of wonnx's version, where they differ.
fn finish(graph: &mut Graph) -> Result<()> {
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        if let Some(axes) = reduction_axes(graph, graph.node(id)) {
            let node = graph.node_mut(id);
            node.inputs.truncate(1);
            node.attrs.set("axes", Attr::Ints(axes));
        }
    }
    graph.remove_dead()?;
    graph.opsets = [("".into(), WONNX_OPSET)].into();
    infer(graph).map_err(|error: Error| error.within("in wonnx's form"))
}

/// The axes of a reduction that version 13 has as an attribute; those of `ReduceSum` are an input.
fn reduction_axes(graph: &Graph, node: &Node) -> Option<Vec<i64>> {
    let name = &*node.op.name;
    if !node.op.domain.is_empty() || !name.starts_with("Reduce") || name == "ReduceSum" {
        return None;
    }
    graph.constant(node.input(1)?)?.to_i64s()
}

/// True when the value is a constant.
fn is_constant(b: &Build, value: ValueId) -> bool {
    b.graph.constant(value).is_some()
}

/// The one element of a float constant.
fn known_number(b: &Build, value: ValueId) -> Option<f64> {
    match b.graph.constant(value)?.to_f64s()?[..] {
        [number] => Some(number),
        _ => None,
    }
}

/// The sizes of the node's first output.
fn output_sizes(b: &Build) -> Result<Vec<i64>, Skip> {
    b.sizes(b.node.output(0).ok_or(Skip::NoMatch)?)
}

/// The node that makes a value.
fn producer<'g>(b: &Build<'g>, value: ValueId) -> Option<&'g Node> {
    match b.graph.value(value).source {
        Source::Node { node, .. } => Some(b.graph.node(node)),
        _ => None,
    }
}

fn product(sizes: &[i64]) -> Result<i64, Skip> {
    let product = sizes
        .iter()
        .try_fold(1_i64, |product, &size| product.checked_mul(size));
    product.ok_or(Skip::Refused("a size does not fit"))
}
