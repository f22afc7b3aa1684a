//! What every graph must satisfy, whoever made it.

use std::collections::HashSet;

use super::{Graph, Node, Source, ValueId};
use crate::error::{Error, Result};

/// Checks that every value that is read or given out is made by something, that what makes it
/// agrees, that names are there and unique, that operators have a version, and that there is no
/// cycle; in bodies too.
///
/// # Errors
/// `MODEL_PARSE` naming the node or value that is wrong.
pub fn verify(graph: &Graph) -> Result<()> {
    verify_in(graph, None)
}

fn verify_in(graph: &Graph, outer: Option<&Graph>) -> Result<()> {
    verify_values(graph, outer)?;
    for (_, node) in graph.nodes() {
        verify_node(graph, node).map_err(|error| error.within(node.label()))?;
        for (name, body) in &node.bodies {
            verify_in(body, Some(graph))
                .map_err(|error| error.within(name).within(node.label()))?;
        }
    }
    let mut outputs = HashSet::new();
    for &id in &graph.outputs {
        check_made(graph, id).map_err(|error| error.within("graph output"))?;
        if !outputs.insert(id) && outer.is_none() {
            return Err(Error::parse(
                name(graph, id),
                "the graph gives this output twice",
            ));
        }
    }
    graph.order()?;
    Ok(())
}

fn name(graph: &Graph, id: ValueId) -> &str {
    &graph.values[id.idx()].name
}

/// # Errors
/// When the id is not of this graph or nothing makes the value.
fn check_made(graph: &Graph, id: ValueId) -> Result<()> {
    let Some(value) = graph.values.get(id.idx()) else {
        return Err(Error::parse(
            "",
            format!("value {} is not in the graph", id.idx()),
        ));
    };
    match value.source {
        Source::Nothing => Err(Error::parse("", format!("nothing makes {:?}", value.name))),
        _ => Ok(()),
    }
}

fn verify_values(graph: &Graph, outer: Option<&Graph>) -> Result<()> {
    let inputs: HashSet<ValueId> = graph.inputs.iter().copied().collect();
    if inputs.len() != graph.inputs.len() {
        return Err(Error::parse("graph inputs", "an input is there twice"));
    }
    if let Some(id) = inputs.iter().find(|id| id.idx() >= graph.values.len()) {
        let why = format!("value {} is not in the graph", id.idx());
        return Err(Error::parse("graph inputs", why));
    }
    for (id, value) in graph.values() {
        let wrong = |why: &'static str| Err(Error::parse(format!("{:?}", value.name), why));
        if value.name.is_empty() {
            return wrong("a value has no name");
        }
        if graph.find(&value.name) != Some(id) {
            return wrong("two values have this name");
        }
        match &value.source {
            Source::Input { .. } if !inputs.contains(&id) => {
                return wrong("the value is an input that the graph does not list");
            }
            Source::Input { .. } => {}
            _ if inputs.contains(&id) => return wrong("a graph input is made in the graph"),
            Source::Node { node, output_idx } => {
                let node = graph.nodes.get(node.idx()).and_then(Option::as_ref);
                if node.and_then(|node| node.output(*output_idx)) != Some(id) {
                    return wrong("the node that makes the value does not list it");
                }
            }
            Source::Capture => {
                let known =
                    outer.and_then(|outer| check_made(outer, outer.find(&value.name)?).ok());
                if known.is_none() {
                    return wrong("the graph around has no such value");
                }
            }
            Source::Constant(_) | Source::Nothing => {}
        }
    }
    Ok(())
}

fn verify_node(graph: &Graph, node: &Node) -> Result<()> {
    let wrong = |why: &'static str| Err(Error::parse("", why));
    if node.op.name.is_empty() {
        return wrong("the node has no operator");
    }
    if node.outputs.is_empty() {
        return wrong("the node has no outputs");
    }
    if !graph.opsets.contains_key(&node.op.domain) {
        let why = format!("the model gives no version for domain {:?}", node.op.domain);
        return Err(Error::parse("", why));
    }
    node.inputs
        .iter()
        .flatten()
        .try_for_each(|&id| check_made(graph, id))?;
    for (idx, &output) in node.outputs.iter().enumerate() {
        let Some(id) = output else { continue };
        check_made(graph, id)?;
        match graph.value(id).source {
            Source::Node {
                node: maker,
                output_idx,
            } if output_idx == idx && std::ptr::eq(graph.node(maker), node) => {}
            _ => {
                let why = format!("output {:?} is made elsewhere", name(graph, id));
                return Err(Error::parse("", why));
            }
        }
    }
    Ok(())
}
