//! A graph for one set of inputs: what was open is a number, and every operator has the form that
//! suits the device.

use super::Sizes;
use super::bind::bind_sizes;
use crate::backend::cpu;
use crate::error::Result;
use crate::graph::{Graph, NodeId, Source, ValueId};
use crate::inspect::Port;
use crate::kernel::Capabilities;
use crate::passes;
use crate::plan::lower;
use crate::tensor::{Fact, Tensor};

/// What a plan is made for: of each input its name, its sizes, and its elements where they decide.
#[derive(Clone, PartialEq)]
pub(super) struct Key(pub Vec<(String, Vec<usize>, Option<Tensor>)>);

/// The graph with everything known put in, as it will run.
///
/// # Errors
/// `SHAPE_MISMATCH` when the sizes cannot be right, and what the passes find.
pub(super) fn concrete(
    mut graph: Graph,
    inputs: &[Port],
    key: &Key,
    caps: &Capabilities,
) -> Result<Graph> {
    let sizes = key
        .0
        .iter()
        .map(|(name, sizes, _)| (name.clone(), sizes.clone()));
    bind_sizes(&mut graph, inputs, &sizes.collect::<Sizes>())?;
    for (name, _, value) in &key.0 {
        let (Some(tensor), Some(id)) = (value, graph.find(name)) else {
            continue;
        };
        graph.inputs.retain(|&input| input != id);
        let input = graph.value_mut(id);
        input.fact = Fact::of(tensor);
        input.source = Source::Constant(tensor.clone());
    }
    passes::prepare(&mut graph, &cpu::evaluate)?;
    passes::fuse(&mut graph, &cpu::evaluate)?;
    if passes::expand(&mut graph, &|graph, id| wants_expansion(graph, id, caps))? {
        passes::prepare(&mut graph, &cpu::evaluate)?;
    }
    passes::chain(&mut graph)?;
    Ok(graph)
}

/// True for a node that has no kernel where its formula has them, or that nothing takes whole.
fn wants_expansion(graph: &Graph, id: NodeId, caps: &Capabilities) -> bool {
    let has_kernel = |graph: &Graph, id| lower(graph, id, caps).is_ok();
    if has_kernel(graph, id) {
        return false;
    }
    let outputs: Vec<ValueId> = graph.node(id).outputs.iter().copied().flatten().collect();
    let formula = graph.subgraph(&[id], &outputs).and_then(|mut formula| {
        passes::expand(&mut formula, &|graph, id| !has_kernel(graph, id))?;
        passes::prepare(&mut formula, &cpu::evaluate)?;
        Ok(formula)
    });
    let all_have = formula.is_ok_and(|formula| {
        let mut nodes = formula.nodes();
        nodes.all(|(id, _)| has_kernel(&formula, id))
    });
    all_have || cpu::refusal(graph, id).is_some()
}
