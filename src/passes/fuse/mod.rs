//! Patterns of small operators as one operator with a kernel of its own, for the GPU: fewer
//! launches, and no intermediate values in memory.
//!
//! What a fusion makes has an expansion, or is ONNX's own: a device without a kernel for it gets
//! the small operators back.

mod activation;
mod chain;
mod conv;
mod matmul;
mod norm;
mod pattern;
mod views;

use super::build::{self, Build, Formula};
use super::{Evaluate, MAX_ROUNDS, Skip, fold, identity};
use crate::error::Result;
use crate::graph::{Graph, infer};

type Fusion = fn(&Build) -> Formula;

/// In this order: what comes first makes the operators that later rules look for.
const FUSIONS: &[Fusion] = &[
    views::transpose_of_transpose,
    views::transpose_as_reshape,
    views::reshape_of_reshape,
    views::identity,
    views::expanded_operand,
    views::cast_of_cast,
    activation::by_formula,
    activation::gelu,
    activation::clip_of_bounds,
    norm::layer,
    norm::rms,
    norm::scaled,
    norm::shifted,
    norm::group,
    conv::padded,
    conv::batch_normalized,
    conv::scaled,
    conv::shifted,
    conv::with_residual,
    conv::activated,
    conv::on_a_line,
    matmul::turned,
    matmul::scaled,
    matmul::of_scaled,
    matmul::reshaped,
    matmul::added,
    matmul::activated,
];

/// Applies the fusions until nothing changes, and folds the weights that they compute. The bodies
/// of `If` and `Loop` stay: they run on the host.
///
/// # Errors
/// What inference finds, which for a prepared graph is nothing new.
pub fn fuse(graph: &mut Graph, evaluate: Evaluate) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        let mut changed = super::apply(graph, &[identity::PASS])?;
        for fusion in FUSIONS {
            if apply(graph, fusion)? {
                // Later fusions ask for facts, and for who reads a value.
                fold::infer_and_fold(graph, evaluate)?;
                graph.remove_dead()?;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    Ok(())
}

/// Makes one node of elementwise operators in a row. Every device has a kernel for it, and what is
/// in a chain is no part of anything better any more: this comes last.
///
/// # Errors
/// What inference finds, which for a prepared graph is nothing new.
pub fn chain(graph: &mut Graph) -> Result<()> {
    for _ in 0..MAX_ROUNDS {
        if !apply(graph, &(chain::chained as Fusion))? {
            break;
        }
        infer(graph)?;
        graph.remove_dead()?;
    }
    Ok(())
}

/// Tries one fusion on every node; returns whether anything changed.
fn apply(graph: &mut Graph, fusion: &Fusion) -> Result<bool> {
    let mut changed = false;
    for id in graph.order()? {
        if let Ok(patch) = build::replace(graph, id, fusion) {
            patch.apply(graph)?;
            changed = true;
        }
    }
    Ok(changed)
}
