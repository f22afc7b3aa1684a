//! What a backend computes right, as tables: one line per operator.

use crate::graph::{Graph, Node, NodeId};
use crate::ops::OpName;
use crate::tensor::{DType, Fact, Shape, Tensor};

/// An operator that a backend takes, and when.
pub struct Rule {
    pub op: &'static str,
    /// Element types of the first input (of the first output for nodes without inputs).
    pub types: &'static [DType],
    /// What else must hold.
    pub when: fn(&Facts) -> Verdict,
}

/// `Err` says why the backend does not take the node.
pub type Verdict = Result<(), &'static str>;

/// No condition beyond the types.
pub fn always(_: &Facts) -> Verdict {
    Ok(())
}

/// One node as a rule sees it.
pub struct Facts<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
}

impl<'a> Facts<'a> {
    pub fn input(&self, idx: usize) -> Option<&'a Fact> {
        Some(&self.graph.value(self.node.input(idx)?).fact)
    }

    pub fn output(&self, idx: usize) -> Option<&'a Fact> {
        Some(&self.graph.value(self.node.output(idx)?).fact)
    }

    pub fn constant(&self, idx: usize) -> Option<&'a Tensor> {
        self.graph.constant(self.node.input(idx)?)
    }

    pub fn has_input(&self, idx: usize) -> bool {
        self.node.input(idx).is_some()
    }

    pub fn has_output(&self, idx: usize) -> bool {
        self.node.output(idx).is_some()
    }

    pub fn dtype(&self, idx: usize) -> Option<DType> {
        self.input(idx)?.dtype
    }

    pub fn rank(&self, idx: usize) -> Option<usize> {
        Some(self.input(idx)?.shape.as_ref()?.rank())
    }

    pub fn sizes(&self, idx: usize) -> Option<Vec<usize>> {
        self.input(idx)?.sizes()
    }

    pub fn output_sizes(&self, idx: usize) -> Option<Vec<usize>> {
        self.output(idx)?.sizes()
    }

    pub fn int(&self, attr: &str, default: i64) -> i64 {
        self.node.attrs.int(attr).unwrap_or(default)
    }

    pub fn str(&self, attr: &str, default: &'static str) -> &'a str {
        self.node.attrs.str(attr).unwrap_or(default)
    }

    /// An axis attribute as an index below `rank`.
    pub fn axis(&self, attr: &str, default: i64, rank: usize) -> Option<usize> {
        Shape::unknown(rank).axis(self.int(attr, default))
    }
}

/// Why the table does not take a node; `None` when it does.
pub fn refusal(table: &[Rule], backend: &str, graph: &Graph, id: NodeId) -> Option<String> {
    let node = graph.node(id);
    let facts = Facts { graph, node };
    let Some(rule) = find(table, &node.op) else {
        return Some(format!("{backend} has no {}", node.op));
    };
    let fact = facts.input(0).or_else(|| facts.output(0));
    if let Some(dtype) = fact.and_then(|fact| fact.dtype)
        && !rule.types.contains(&dtype)
    {
        return Some(format!("{backend} has no {} for {dtype}", node.op));
    }
    let why = (rule.when)(&facts).err()?;
    Some(format!("{backend}: {}: {why}", node.op))
}

fn find<'a>(table: &'a [Rule], op: &OpName) -> Option<&'a Rule> {
    let name = op.to_string();
    table.iter().find(|rule| rule.op == name)
}
