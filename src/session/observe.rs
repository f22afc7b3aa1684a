//! Looking into a model: every value that it computes on its way.

use crate::graph::{Graph, ValueId};
use crate::plan::Provider;
use crate::tensor::{Kind, Tensor};

/// A value of a graph as it ran.
#[derive(Clone, Debug)]
pub struct Observed {
    pub value: String,
    /// The node that gave it.
    pub node: String,
    pub op: String,
    pub provider: Provider,
    /// The kernels that computed it on the GPU, or nothing.
    pub kernel: String,
    pub tensor: Tensor,
}

/// Makes an output of every tensor that a node gives.
pub(super) fn expose(graph: &mut Graph) {
    let given = graph.nodes().flat_map(|(_, node)| node.outputs.clone());
    let given: Vec<ValueId> = given.flatten().collect();
    for id in given {
        let fact = &graph.value(id).fact;
        let is_tensor = fact.kind == Kind::Tensor && fact.dtype.is_some();
        if is_tensor && !graph.outputs.contains(&id) {
            graph.outputs.push(id);
        }
    }
}
