//! Patterns of small operators as one operator with a kernel of its own, for the GPU: fewer
//! launches, and no intermediate values in memory.

use super::{Evaluate, MAX_ROUNDS, Pass, apply, fold};
use crate::error::Result;
use crate::graph::Graph;

/// In this order: what comes first makes the operators that later rules look for.
const FUSIONS: &[Pass] = &[];

/// Applies the fusions until nothing changes, and folds the weights that they compute.
///
/// # Errors
/// What inference finds, which for a prepared graph is nothing new.
pub fn fuse(graph: &mut Graph, evaluate: Evaluate) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        if !apply(graph, FUSIONS)? {
            break;
        }
        fold::infer_and_fold(graph, evaluate)?;
        graph.remove_dead()?;
    }
    Ok(())
}
