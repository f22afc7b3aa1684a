//! Inputs whose elements decide shapes or control flow: a sampling rate that an `If` asks about,
//! the shape of a `Reshape`. A plan is made for their values, as it is for sizes.

use std::collections::HashSet;

use crate::graph::{Graph, Node, Source, ValueId};
use crate::tensor::MAX_VALUE_ELEMENTS;

/// Operators whose inputs from this one on say what the output looks like; `If` and `Loop` are
/// asked for their first.
const HUNGRY: &[(&str, usize)] = &[
    ("BlackmanWindow", 0),
    ("CenterCropPad", 1),
    ("Clip", 1),
    ("Col2Im", 1),
    ("ConstantOfShape", 0),
    ("CumSum", 1),
    ("DFT", 1),
    ("Expand", 1),
    ("HammingWindow", 0),
    ("HannWindow", 0),
    ("OneHot", 1),
    ("Pad", 1),
    ("Range", 0),
    ("ReduceL1", 1),
    ("ReduceL2", 1),
    ("ReduceLogSum", 1),
    ("ReduceLogSumExp", 1),
    ("ReduceMax", 1),
    ("ReduceMean", 1),
    ("ReduceMin", 1),
    ("ReduceProd", 1),
    ("ReduceSum", 1),
    ("ReduceSumSquare", 1),
    ("Reshape", 1),
    ("Resize", 1),
    ("Slice", 1),
    ("Split", 1),
    ("Squeeze", 1),
    ("Tile", 1),
    ("TopK", 1),
    ("Trilu", 1),
    ("Unsqueeze", 1),
    ("Upsample", 1),
];

/// The names of such inputs. Of those with more than [`MAX_VALUE_ELEMENTS`] elements a plan could
/// not know each.
pub(super) fn deciding_inputs(graph: &Graph) -> Vec<String> {
    let mut asked: Vec<ValueId> = Vec::new();
    for (_, node) in graph.nodes() {
        asked.extend(hungry_inputs(graph, node));
    }
    let mut seen: HashSet<ValueId> = HashSet::new();
    while let Some(value) = asked.pop() {
        if !seen.insert(value) {
            continue;
        }
        if let Source::Node { node, .. } = graph.value(value).source {
            let node = graph.node(node);
            // A shape is known without the elements.
            if !node.op.is("Shape") && !node.op.is("Size") {
                asked.extend(node.inputs.iter().flatten());
            }
        }
    }
    let decides = |id: &&ValueId| {
        let shape = &graph.value(**id).fact.shape;
        let is_small = shape.as_ref().is_some_and(|shape| {
            let n = shape.elements().size();
            shape.rank() <= 1 && n.is_none_or(|n| n <= MAX_VALUE_ELEMENTS)
        });
        is_small && seen.contains(id)
    };
    let inputs = graph.inputs.iter().filter(decides);
    inputs.map(|&id| graph.value(id).name.to_string()).collect()
}

fn hungry_inputs(graph: &Graph, node: &Node) -> Vec<ValueId> {
    let from = if node.op.is("If") || node.op.is("Loop") {
        return node.inputs.iter().take(2).copied().flatten().collect();
    } else {
        let known = HUNGRY.iter().find(|(name, _)| node.op.is(name));
        known.map_or(usize::MAX, |&(_, from)| from)
    };
    let asked = node.inputs.iter().skip(from).copied().flatten();
    asked
        .filter(|&value| graph.constant(value).is_none())
        .collect()
}
