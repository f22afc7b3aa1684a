//! Why wonnx does not take a graph, told per node.

use crate::error::Error;
use crate::graph::Graph;
use crate::plan::{Placement, Provider};

/// Why wonnx does not take a graph.
#[derive(Default)]
pub(super) struct Reasons {
    /// label, operator, reason; an empty label speaks of the whole graph.
    pub refused: Vec<(String, String, String)>,
}

impl Reasons {
    pub fn first_error(&self) -> Option<Error> {
        let (label, _, why) = self.refused.first()?;
        Some(Error::unsupported(label, why.clone()))
    }

    /// One row for each node of the graph as it runs.
    pub fn rows(&self, graph: &Graph, provider: Provider, why: Option<&str>) -> Vec<Placement> {
        let order = graph.order().unwrap_or_default();
        let whole = match self.refused.first() {
            Some((label, _, why)) if !label.is_empty() => {
                format!("wonnx takes whole graphs, and not this one: {label}: {why}")
            }
            Some((_, _, why)) => why.clone(),
            None => why.unwrap_or("asked for").to_owned(),
        };
        let rows = order.into_iter().map(|id| {
            let node = graph.node(id);
            let label = node.label();
            let values = node.outputs.iter().flatten();
            let values = values.map(|&value| graph.value(value).name.to_string());
            let own = self
                .refused
                .iter()
                .find(|(refused, _, _)| *refused == label);
            Placement {
                node: if node.name.is_empty() {
                    label
                } else {
                    node.name.to_string()
                },
                op: node.op.to_string(),
                values: values.collect(),
                provider,
                kernel: String::new(),
                size_bytes: 0,
                reason: own.map_or_else(|| whole.clone(), |(_, _, why)| why.clone()),
            }
        });
        rows.collect()
    }
}
