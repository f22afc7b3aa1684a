//! Nodes that give their input back.

use super::{Pass, Skip};
use crate::graph::{Graph, Node, NodeId, Patch};

pub const PASS: Pass = Pass {
    name: "identity",
    rule: identity,
};

// f(x) -> x where f changes neither elements, shape nor type
fn identity(graph: &Graph, id: NodeId) -> Result<Patch, Skip> {
    let node = graph.node(id);
    if !is_identity(graph, node) {
        return Err(Skip::NoMatch);
    }
    let input = node.input(0).ok_or(Skip::NoMatch)?;
    let output = node.output(0).ok_or(Skip::NoMatch)?;
    if graph.is_pinned(output) && (graph.is_pinned(input) || graph.constant(input).is_some()) {
        return Err(Skip::Refused("both names must stay"));
    }
    let mut patch = Patch::default();
    patch.remove(id);
    patch.replace(output, input);
    Ok(patch)
}

fn is_identity(graph: &Graph, node: &Node) -> bool {
    if !node.op.domain.is_empty() || node.outputs.iter().skip(1).any(Option::is_some) {
        return false;
    }
    let fact = |value| &graph.value(value).fact;
    let (Some(x), Some(y)) = (node.input(0).map(fact), node.output(0).map(fact)) else {
        return false;
    };
    let same_dtype = x.dtype.is_some() && x.dtype == y.dtype;
    let same_sizes = x.sizes().is_some() && x.sizes() == y.sizes();
    match &*node.op.name {
        "Identity" => true,
        // Training mode drops elements; only a constant can say that it is off.
        "Dropout" => match node.input(2) {
            None => true,
            Some(mode) => {
                let mode = graph.constant(mode).and_then(|mode| mode.to_i64s());
                mode.is_some_and(|mode| mode == [0])
            }
        },
        "Cast" => same_dtype,
        "Concat" | "Max" | "Min" | "Sum" | "Mean" => node.inputs.len() == 1,
        "Reshape" | "Expand" | "Squeeze" | "Unsqueeze" | "Flatten" => same_dtype && same_sizes,
        "Transpose" => node.attrs.ints("perm").is_some_and(|perm| {
            perm.iter()
                .enumerate()
                .all(|(idx, &axis)| axis == idx as i64)
        }),
        _ => false,
    }
}
