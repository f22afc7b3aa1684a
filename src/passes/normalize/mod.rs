//! Old forms of ONNX operators, brought to those of [`TARGET_OPSET`].
//!
//! Afterwards an operator's name has one meaning, whatever version the model was written for.
//! What changed when is in ONNX's Changelog.md.

mod attributes;
mod broadcast;
mod inputs;
mod layers;

use super::Skip;
use super::build::{self, Build, Formula};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};

/// Every prepared graph is in the forms of this version. Operators that later versions add keep
/// their name; operators that later versions only extend mean the same there.
pub const TARGET_OPSET: i64 = 21;

/// The newest version whose changes are known to fit the forms of [`TARGET_OPSET`].
const NEWEST_OPSET: i64 = 28;

/// An operator whose meaning or form changed after version `until`.
struct Step {
    op: &'static str,
    until: i64,
    rule: fn(&Build) -> Formula,
}

const fn step(op: &'static str, until: i64, rule: fn(&Build) -> Formula) -> Step {
    Step { op, until, rule }
}

/// One line per operator and change; a node takes the first line that fits.
const STEPS: &[Step] = &[
    step("Add", 6, broadcast::binary),
    step("And", 6, broadcast::binary),
    step("BatchNormalization", 13, layers::batch_normalization),
    step("Cast", 5, attributes::cast),
    step("Clip", 10, inputs::clip),
    step("Concat", 3, attributes::concat),
    step("DFT", 19, inputs::dft),
    step("Div", 6, broadcast::binary),
    step("Dropout", 11, inputs::dropout),
    step("Equal", 6, broadcast::binary),
    step("GRU", 6, attributes::recurrent),
    step("Gemm", 6, broadcast::gemm),
    step("GlobalLpPool", 1, attributes::lp_pool),
    step("Greater", 6, broadcast::binary),
    step("GridSample", 19, attributes::grid_sample),
    step("GroupNormalization", 20, layers::group_normalization),
    step("Hardmax", 12, layers::softmax),
    step("LSTM", 6, attributes::recurrent),
    step("Less", 6, broadcast::binary),
    step("LogSoftmax", 12, layers::softmax),
    step("LpPool", 1, attributes::lp_pool),
    step("Mul", 6, broadcast::binary),
    step("Or", 6, broadcast::binary),
    step("PRelu", 6, broadcast::prelu),
    step("Pad", 10, inputs::pad),
    step("Pow", 6, broadcast::binary),
    step("RNN", 6, attributes::recurrent),
    step("ReduceL1", 17, inputs::axes),
    step("ReduceL2", 17, inputs::axes),
    step("ReduceLogSum", 17, inputs::axes),
    step("ReduceLogSumExp", 17, inputs::axes),
    step("ReduceMax", 17, inputs::axes),
    step("ReduceMean", 17, inputs::axes),
    step("ReduceMin", 17, inputs::axes),
    step("ReduceProd", 17, inputs::axes),
    step("ReduceSum", 12, inputs::axes),
    step("ReduceSumSquare", 17, inputs::axes),
    step("Reshape", 4, inputs::reshape),
    step("Resize", 10, layers::resize),
    step("RoiAlign", 15, attributes::roi_align),
    step("Scan", 8, layers::scan),
    // Deprecated since 11 under this name.
    step("Scatter", NEWEST_OPSET, attributes::scatter),
    step("Selu", 5, attributes::selu),
    step("Slice", 9, inputs::slice),
    step("Softmax", 12, layers::softmax),
    step("Split", 17, inputs::split),
    step("Squeeze", 12, inputs::axes),
    step("Sub", 6, broadcast::binary),
    step("Tile", 5, inputs::tile),
    step("TopK", 9, inputs::top_k),
    step("Unsqueeze", 12, inputs::axes),
    // Deprecated since 10.
    step("Upsample", NEWEST_OPSET, layers::upsample),
    step("Xor", 6, broadcast::binary),
];

/// Brings the graph and the bodies of its nodes to [`TARGET_OPSET`]. Some rules need ranks, so
/// shapes should have been inferred under the old version.
///
/// # Errors
/// `MODEL_UNSUPPORTED` naming the node and the version when a form cannot be brought over.
pub fn normalize(graph: &mut Graph) -> Result<()> {
    let version = graph.opset("");
    if !(1..=NEWEST_OPSET).contains(&version) {
        let why = format!("opset {version} is not one of 1 to {NEWEST_OPSET}");
        return Err(Error::unsupported("opset_import", why));
    }
    normalize_from(graph, version)
}

fn normalize_from(graph: &mut Graph, version: i64) -> Result<()> {
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        for body in graph.node_mut(id).bodies.values_mut() {
            normalize_from(body, version)?;
        }
        normalize_node(graph, id, version)?;
    }
    graph.opsets.insert("".into(), TARGET_OPSET);
    Ok(())
}

fn normalize_node(graph: &mut Graph, id: NodeId, version: i64) -> Result<()> {
    if !graph.node(id).op.domain.is_empty() {
        return Ok(());
    }
    if version < 6 {
        // A hint about memory that says nothing of the result.
        graph.node_mut(id).attrs.remove("consumed_inputs");
    }
    let node = graph.node(id);
    let fits = |step: &&Step| version <= step.until && node.op.is(step.op);
    let Some(step) = STEPS.iter().find(fits) else {
        return Ok(());
    };
    match build::replace(graph, id, step.rule) {
        Ok(patch) => patch.apply(graph),
        Err(Skip::NoMatch) => Ok(()),
        Err(Skip::Refused(why)) => {
            let why = format!("the form of opset {version} has no counterpart: {why}");
            Err(Error::unsupported(node.label(), why))
        }
    }
}
