//! What a model is made of, as data: for people, tables and pictures.

mod difference;

use std::collections::BTreeMap;

use crate::graph::{Graph, Source, ValueId};
use crate::model::{Meta, Model};
use crate::tensor::{Data, Fact, Tensor};

pub use difference::{Difference, difference};

/// A model at a glance.
#[derive(Clone, Debug)]
pub struct Summary {
    pub meta: Meta,
    /// Version by domain; the default domain is `""`.
    pub opsets: BTreeMap<String, i64>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// How often each operator occurs, bodies included: `Conv`, `com.microsoft::Gelu`.
    pub ops: BTreeMap<String, usize>,
    /// Elements of all constants, bodies included.
    pub parameters: u64,
    pub parameter_bytes: u64,
    /// In an order in which every input comes before its reader; a node's bodies follow it.
    pub nodes: Vec<NodeSummary>,
}

/// A graph input or output.
#[derive(Clone, Debug)]
pub struct Port {
    pub name: String,
    pub fact: Fact,
}

#[derive(Clone, Debug)]
pub struct NodeSummary {
    /// May be empty.
    pub name: String,
    pub op: String,
    /// Empty where an optional input is left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// The bodies that the node is in, outermost first: `If cond/then_branch`; empty for the
    /// model's own graph.
    pub within: String,
}

pub fn summary(model: &Model) -> Summary {
    let graph = &model.graph;
    let ports = |ids: &[ValueId]| ids.iter().map(|&id| port(graph, id)).collect();
    let opsets = graph
        .opsets
        .iter()
        .map(|(domain, version)| (domain.to_string(), *version));
    let mut summary = Summary {
        meta: model.meta.clone(),
        opsets: opsets.collect(),
        inputs: ports(&graph.inputs),
        outputs: ports(&graph.outputs),
        ops: BTreeMap::new(),
        parameters: 0,
        parameter_bytes: 0,
        nodes: Vec::with_capacity(graph.node_count()),
    };
    summary.add(graph, "");
    summary
}

fn port(graph: &Graph, id: ValueId) -> Port {
    let value = graph.value(id);
    Port {
        name: value.name.to_string(),
        fact: value.fact.clone(),
    }
}

impl Summary {
    fn add(&mut self, graph: &Graph, within: &str) {
        for (_, value) in graph.values() {
            if let Source::Constant(tensor)
            | Source::Input {
                default: Some(tensor),
            } = &value.source
            {
                self.parameters += tensor.len() as u64;
                self.parameter_bytes += size_bytes(tensor);
            }
        }
        let as_added = |_| graph.nodes().map(|(id, _)| id).collect();
        for id in graph.order().unwrap_or_else(as_added) {
            let node = graph.node(id);
            let names = |ids: &[Option<ValueId>]| {
                let name = |id: &Option<ValueId>| {
                    id.map_or_else(String::new, |id| graph.value(id).name.to_string())
                };
                ids.iter().map(name).collect()
            };
            *self.ops.entry(node.op.to_string()).or_default() += 1;
            self.nodes.push(NodeSummary {
                name: node.name.to_string(),
                op: node.op.to_string(),
                inputs: names(&node.inputs),
                outputs: names(&node.outputs),
                within: within.to_owned(),
            });
            for (name, body) in &node.bodies {
                let separator = if within.is_empty() { "" } else { "/" };
                self.add(body, &format!("{within}{separator}{}/{name}", node.label()));
            }
        }
    }
}

fn size_bytes(tensor: &Tensor) -> u64 {
    match tensor.data() {
        Data::Strings(strings) => strings.iter().map(|text| text.len() as u64).sum(),
        Data::Bytes(bytes) => bytes.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text::parse;

    #[test]
    fn bodies_count_too() {
        let graph = parse(
            "input c: bool[]
             input x: f32[n]
             const w: f32[3] = [1.0, 2.0, 3.0]
             a = Add(x, w)
             y = If(c) @branch then_branch {
               t = Neg(a)
               output t
             } else_branch {
               const k: i64[1] = [0]
               e = Expand(a, k)
               output e
             }
             output y",
        )
        .unwrap();
        let summary = summary(&Model {
            graph,
            meta: Meta::default(),
        });
        assert_eq!(summary.parameters, 4);
        assert_eq!(summary.parameter_bytes, 20);
        let ops: Vec<(&str, usize)> = summary
            .ops
            .iter()
            .map(|(op, count)| (op.as_str(), *count))
            .collect();
        assert_eq!(ops, [("Add", 1), ("Expand", 1), ("If", 1), ("Neg", 1)]);
        let within: Vec<&str> = summary
            .nodes
            .iter()
            .map(|node| node.within.as_str())
            .collect();
        assert_eq!(
            within,
            ["", "", "If branch/else_branch", "If branch/then_branch"]
        );
        assert_eq!(
            summary.inputs[1].fact.shape.as_ref().unwrap().to_string(),
            "[n]"
        );
    }
}
