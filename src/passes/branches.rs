//! `If` whose condition is known: only one of its branches is ever taken.

use crate::error::Result;
use crate::graph::{Graph, NodeId, Source};
use crate::tensor::Tensor;

/// Puts the branch that is taken in the place of its node; returns whether there was any.
pub(super) fn take_known(graph: &mut Graph) -> Result<bool> {
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let mut changed = false;
    for id in ids {
        let mut bodies = std::mem::take(&mut graph.node_mut(id).bodies);
        for body in bodies.values_mut() {
            changed |= take_known(body)?;
        }
        graph.node_mut(id).bodies = bodies;
        if let Some(branch) = known_branch(graph, id) {
            graph.inline(id, branch)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn known_branch(graph: &Graph, id: NodeId) -> Option<Graph> {
    let node = graph.node(id);
    if !node.op.is("If") {
        return None;
    }
    let condition = graph.constant(node.input(0)?).and_then(Tensor::to_i64s)?;
    let name = if *condition.first()? == 0 {
        "else_branch"
    } else {
        "then_branch"
    };
    let branch = node.bodies.get(name)?;
    // A branch that gives back what it captured would need two names for one value where both
    // are outputs of the graph.
    let gives_own = branch.outputs.iter().all(|&output| {
        matches!(
            branch.value(output).source,
            Source::Node { .. } | Source::Constant(_)
        )
    });
    gives_own.then(|| branch.clone())
}
