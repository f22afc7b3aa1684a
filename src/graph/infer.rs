//! Shapes and types of all values, from those of the inputs.

use super::{Graph, NodeId, Source};
use crate::error::Result;
use crate::ops::{self, Inputs};
use crate::tensor::{Dim, Fact};

/// Finds the facts of every value that a node makes, in order. What a model declares stays where
/// inference knows less.
///
/// # Errors
/// `SHAPE_MISMATCH` or `DTYPE_MISMATCH` naming the node whose inputs can never be right.
pub fn infer(graph: &mut Graph) -> Result<()> {
    for id in graph.order()? {
        infer_node(graph, id)?;
    }
    Ok(())
}

/// Finds the facts of one node's outputs; nodes of operators without a rule keep what is declared.
pub(crate) fn infer_node(graph: &mut Graph, id: NodeId) -> Result<()> {
    if !graph.node(id).bodies.is_empty() {
        return infer_bodies(graph, id);
    }
    let node = graph.node(id);
    let Some(def) = ops::find(&node.op) else {
        return Ok(());
    };
    let place = |error: crate::Error| error.within(node.label());
    let op = (def.parse)(&node.attrs, graph.opset(def.domain)).map_err(place)?;
    let facts: Vec<Option<&Fact>> = node
        .inputs
        .iter()
        .map(|input| input.map(|value| &graph.value(value).fact))
        .collect();
    let constants: Vec<_> = node
        .inputs
        .iter()
        .map(|input| input.and_then(|value| graph.constant(value)))
        .collect();
    let inputs = Inputs {
        facts: &facts,
        constants: &constants,
        n_outputs: node.outputs.len(),
    };
    let inferred = op.infer(&inputs).map_err(place)?;
    let outputs = node.outputs.clone();
    for (value, fact) in outputs.into_iter().zip(inferred) {
        let Some(value) = value else { continue };
        let known = &mut graph.value_mut(value).fact;
        *known = merge(std::mem::take(known), fact);
    }
    Ok(())
}

/// Infers the graphs inside a node. What `If` gives is what both branches agree on; loops may
/// change shapes from turn to turn, so only their types are taken.
fn infer_bodies(graph: &mut Graph, id: NodeId) -> Result<()> {
    let mut bodies = std::mem::take(&mut graph.node_mut(id).bodies);
    let is_if = graph.node(id).op.is("If");
    let mut failures = Vec::new();
    for body in bodies.values_mut() {
        for value in &mut body.values {
            if matches!(value.source, Source::Capture)
                && let Some(outer) = graph.find(&value.name)
            {
                value.fact = graph.value(outer).fact.clone();
            }
        }
        failures.extend(infer(body).err());
    }
    let n_bodies = bodies.len();
    let node = graph.node_mut(id);
    let outputs = node.outputs.clone();
    let is_loop = node.op.is("Loop");
    let label = node.label();
    node.bodies = bodies;
    // A branch that these shapes do not fit is one that is not taken: models ask before.
    if !is_if || failures.len() == n_bodies {
        failures
            .into_iter()
            .try_for_each(|error| Err(error.within(&label)))?;
    }
    for (output_idx, value) in outputs.into_iter().enumerate() {
        let Some(value) = value else { continue };
        let node = graph.node(id);
        // The first output of a loop's body is its condition.
        let body_idx = output_idx + usize::from(is_loop);
        let facts: Vec<Fact> = node
            .bodies
            .values()
            .filter_map(|body| Some(body.value(*body.outputs.get(body_idx)?).fact.clone()))
            .collect();
        let Some(mut fact) = facts.into_iter().reduce(agreed) else {
            continue;
        };
        if !is_if {
            fact.shape = None;
            fact.value = None;
        }
        let known = &mut graph.value_mut(value).fact;
        *known = merge(std::mem::take(known), fact);
    }
    Ok(())
}

/// What two facts have in common.
fn agreed(a: Fact, b: Fact) -> Fact {
    let shape = a
        .shape
        .zip(b.shape)
        .filter(|(a, b)| a.rank() == b.rank())
        .map(|(a, b)| {
            let pairs = a.iter().zip(b.iter());
            pairs
                .map(|(a, b)| if a == b { a.clone() } else { Dim::Unknown })
                .collect()
        });
    Fact {
        kind: a.kind,
        dtype: if a.dtype == b.dtype { a.dtype } else { None },
        shape,
        value: if a.value == b.value { a.value } else { None },
    }
}

/// The inferred fact, with gaps filled from what the model declares.
fn merge(declared: Fact, inferred: Fact) -> Fact {
    let shape = match (declared.shape, inferred.shape) {
        (Some(declared), Some(inferred)) if declared.rank() == inferred.rank() => {
            let pairs = inferred.iter().zip(declared.iter());
            Some(
                pairs
                    .map(|(new, old)| if *new == Dim::Unknown { old } else { new }.clone())
                    .collect(),
            )
        }
        (declared, inferred) => inferred.or(declared),
    };
    Fact {
        kind: inferred.kind,
        dtype: inferred.dtype.or(declared.dtype),
        shape,
        value: inferred.value,
    }
}

/// Puts numbers in place of symbolic dimensions, in every value of the graph and its bodies.
pub fn specialize(graph: &mut Graph, lookup: &impl Fn(&str) -> Option<i64>) {
    for value in &mut graph.values {
        if let Some(shape) = &value.fact.shape {
            value.fact.shape = Some(shape.bind(lookup));
        }
        // Values that follow from shapes are found again by inference.
        if !matches!(value.source, Source::Constant(_)) {
            value.fact.value = None;
        }
    }
    for node in graph.nodes.iter_mut().flatten() {
        for body in node.bodies.values_mut() {
            specialize(body, lookup);
        }
    }
}
