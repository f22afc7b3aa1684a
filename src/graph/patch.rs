//! Changes to a graph as data: passes propose them, [`Patch::apply`] makes them.

use super::{Graph, Node, NodeId, Source, ValueId};
use crate::error::Result;
use crate::tensor::{Fact, Tensor};

/// New values and nodes, and whose readers move where. Made against one graph and applied to the
/// same, unchanged one.
#[derive(Debug, Default)]
pub struct Patch {
    values: Vec<(String, Fact, Source)>,
    nodes: Vec<Node>,
    removed: Vec<NodeId>,
    replaced: Vec<(ValueId, ValueId)>,
}

impl Patch {
    /// A new value for outputs of new nodes.
    pub fn value(&mut self, graph: &Graph, stem: &str, fact: Fact) -> ValueId {
        self.push(graph, stem, fact, Source::Nothing)
    }

    pub fn constant(&mut self, graph: &Graph, stem: &str, tensor: Tensor) -> ValueId {
        self.push(graph, stem, Fact::of(&tensor), Source::Constant(tensor))
    }

    fn push(&mut self, graph: &Graph, stem: &str, fact: Fact, source: Source) -> ValueId {
        let id = ValueId::new(graph.values.len() + self.values.len());
        self.values.push((stem.to_owned(), fact, source));
        id
    }

    pub fn node(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// Takes a node out. Its outputs must be replaced, be made by a new node, or have no readers.
    pub fn remove(&mut self, node: NodeId) {
        self.removed.push(node);
    }

    /// All readers of `old`, and the graph's outputs, take `new`. Not for two pinned values: each
    /// of them must keep its name (see [`Graph::is_pinned`]).
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        self.replaced.push((old, new));
    }

    /// # Errors
    /// `MODEL_PARSE` when the patch leaves a value with two sources.
    pub fn apply(self, graph: &mut Graph) -> Result<()> {
        for (stem, fact, source) in self.values {
            let name = graph.fresh_name(&stem);
            graph.add_value(&name, fact, source)?;
        }
        for id in self.removed {
            graph.remove_node(id);
        }
        for node in self.nodes {
            graph.add_node(node)?;
        }
        for (old, new) in self.replaced {
            replace(graph, old, new);
        }
        Ok(())
    }
}

/// Moves every reader of `old` to `new`. Graph outputs and captured values keep the old name,
/// which callers and bodies know: there the two values swap names.
fn replace(graph: &mut Graph, old: ValueId, new: ValueId) {
    let old_name = graph.value(old).name.clone();
    let captured = graph.nodes().any(|(_, node)| node.captures(&old_name));
    for node in graph.nodes.iter_mut().flatten() {
        for input in node.inputs.iter_mut().flatten() {
            if *input == old {
                *input = new;
            }
        }
    }
    let is_output = graph.outputs.contains(&old);
    for output in &mut graph.outputs {
        if *output == old {
            *output = new;
        }
    }
    if is_output || captured {
        let new_name = graph.value(new).name.clone();
        graph.by_name.insert(old_name.clone(), new);
        graph.by_name.insert(new_name.clone(), old);
        graph.value_mut(new).name = old_name;
        graph.value_mut(old).name = new_name;
    }
}
