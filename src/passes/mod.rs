//! Rewrites that make a graph simpler to run: rules propose patches, the driver applies them.

mod branches;
mod build;
mod expand;
mod fold;
mod fuse;
mod identity;
mod lower_wonnx;
mod normalize;
mod rebatch;
mod windows;

use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, infer};
use crate::tensor::Tensor;

pub use expand::expand;
pub use fuse::{chain, fuse};
pub use lower_wonnx::lower_for_wonnx;
pub use normalize::{TARGET_OPSET, normalize};
pub use rebatch::{Batch, Rows, rebatch, rows};

/// Why a rule leaves a node as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The rule is not about this node.
    NoMatch,
    /// The rule matches, and what it would do is not safe or not known to be right.
    Refused(&'static str),
}

/// Looks at one node; returns what to change.
pub type Rule = fn(graph: &Graph, node: NodeId) -> Result<Patch, Skip>;

pub struct Pass {
    pub name: &'static str,
    pub rule: Rule,
}

/// Runs on every graph, in this order, until nothing changes.
pub const PASSES: &[Pass] = &[identity::PASS, windows::PASS];

/// Computes the outputs of a graph without inputs.
pub type Evaluate<'a> = &'a dyn Fn(&Graph) -> Result<Vec<Tensor>>;

/// A graph that grows for this many rounds has rules that undo each other.
const MAX_ROUNDS: usize = 16;

/// Infers shapes and types, brings operators to the forms of [`TARGET_OPSET`], folds what is
/// constant or follows from known shapes, takes branches that are known, and applies [`PASSES`].
///
/// # Errors
/// What inference finds: `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, or `MODEL_UNSUPPORTED` for operators
/// of versions that cannot be brought to today's forms.
pub fn prepare(graph: &mut Graph, evaluate: Evaluate) -> Result<()> {
    // Some old forms can only be brought over once ranks are known.
    infer(graph)?;
    normalize(graph)?;
    for _ in 0..MAX_ROUNDS {
        let folded = fold::infer_and_fold(graph, evaluate)?;
        let taken = branches::take_known(graph)?;
        let rewritten = apply(graph, PASSES)?;
        graph.remove_dead()?;
        if !folded && !taken && !rewritten {
            break;
        }
    }
    Ok(())
}

/// Tries every pass on every node once; returns whether anything changed.
fn apply(graph: &mut Graph, passes: &[Pass]) -> Result<bool> {
    let mut changed = false;
    for pass in passes {
        for id in graph.order()? {
            if let Ok(patch) = (pass.rule)(graph, id) {
                patch.apply(graph)?;
                changed = true;
            }
        }
    }
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        for body in graph.node_mut(id).bodies.values_mut() {
            changed |= apply(body, passes)?;
        }
    }
    Ok(changed)
}
