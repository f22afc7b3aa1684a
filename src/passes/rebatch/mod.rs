//! Which models compute every row of a batch on its own, and a batch of a fixed size made one of
//! any size.
//!
//! The axis of the rows gets a symbol in the shapes of the inputs; a walk through the graph then
//! follows it. A model whose batch has a fixed size is mended on the way, and is joinable if what
//! comes out of that is: for the size it was made for, the mended model is the same.

mod candidates;
mod class;
mod follow;
mod mend;
mod rules;
mod site;
mod walk;

use super::{Evaluate, normalize};
use crate::error::Result;
use crate::graph::{Graph, ValueId, infer};
use crate::tensor::Dim;

use candidates::candidates;
use follow::{Follow, forget_shapes};

/// What a model does with the rows of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The axis along which each input carries rows; none where all rows share it.
    pub inputs: Vec<(String, Option<usize>)>,
    /// The axis along which each output has the rows; none where it is the same for all, or rows
    /// cannot be joined.
    pub outputs: Vec<(String, Option<usize>)>,
    pub batch: Batch,
    /// Otherwise the node that mixes rows, and how.
    pub joinable: std::result::Result<(), String>,
}

/// How many rows a model takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Batch {
    /// Any number, called this in the shapes of the inputs.
    Symbol(String),
    Fixed(i64),
    /// No input has such an axis.
    None(String),
}

/// Finds out whether inputs may be joined along an axis, run at once, and the outputs split.
///
/// # Errors
/// As [`prepare`](super::prepare).
pub fn rows(graph: &Graph, axis: usize, evaluate: Evaluate) -> Result<Rows> {
    Ok(analyse(graph, axis, evaluate)?.0)
}

/// Makes the fixed size of a batch any size; returns what the model does with rows. A model with a
/// symbol there, or whose rows cannot be joined, stays as it is.
///
/// # Errors
/// As [`prepare`](super::prepare).
pub fn rebatch(graph: &mut Graph, axis: usize, evaluate: Evaluate) -> Result<Rows> {
    let (mut rows, mended) = analyse(graph, axis, evaluate)?;
    let (Batch::Fixed(_), Ok(())) = (&rows.batch, &rows.joinable) else {
        return Ok(rows);
    };
    let Some((symbol, mut mended)) = mended else {
        return Ok(rows);
    };
    for (&new, &old) in mended.inputs.clone().iter().zip(&graph.inputs) {
        let name = graph.value(old).name.clone();
        let carried = rows.inputs.iter().find(|(input, _)| **input == *name);
        let mut shape = graph.value(old).fact.shape.clone();
        if let (Some(shape), Some((_, Some(axis)))) = (&mut shape, carried) {
            shape.0[*axis] = Dim::symbol(&symbol);
        }
        mended.value_mut(new).fact.shape = shape;
    }
    forget_shapes(&mut mended);
    infer(&mut mended)?;
    *graph = mended;
    rows.batch = Batch::Symbol(symbol);
    Ok(rows)
}

/// The first choice of inputs with which rows can be joined, with the graph as it was mended for
/// that and its symbol; otherwise why not with the first.
fn analyse(
    graph: &Graph,
    axis: usize,
    evaluate: Evaluate,
) -> Result<(Rows, Option<(String, Graph)>)> {
    let (batch, candidates) = candidates(graph, axis);
    let mut normal = graph.clone();
    normal.remove_dead()?;
    infer(&mut normal)?;
    normalize(&mut normal)?;
    let symbol = fresh_symbol(graph);
    let follow = Follow {
        graph: &normal,
        batch: &batch,
        symbol: &symbol,
        evaluate,
    };
    let mut refused = None;
    for candidate in candidates {
        let (rows, mended) = follow.follow(&candidate)?;
        if rows.joinable.is_ok() {
            return Ok((rows, Some((symbol, mended))));
        }
        refused.get_or_insert(rows);
    }
    let none = || {
        let why = match &batch {
            Batch::None(why) => why.clone(),
            _ => "no input carries rows".into(),
        };
        let names = |values: &[ValueId]| {
            let names = values.iter().map(|&id| graph.value(id).name.to_string());
            names.map(|name| (name, None)).collect()
        };
        Rows {
            inputs: names(&graph.inputs),
            outputs: names(&graph.outputs),
            batch: batch.clone(),
            joinable: Err(why),
        }
    };
    Ok((refused.unwrap_or_else(none), None))
}

fn fresh_symbol(graph: &Graph) -> String {
    let shapes = graph
        .inputs
        .iter()
        .filter_map(|&id| graph.value(id).fact.shape.as_ref());
    let dims: Vec<&Dim> = shapes.flat_map(|shape| shape.iter()).collect();
    let names = std::iter::once("batch".to_owned()).chain((0..).map(|n| format!("batch_{n}")));
    // The walk makes more symbols from this one, with a number behind.
    let is_taken = |dim: &Dim, name: &str| {
        class::mentions(dim, name) || dim.to_string().contains(&format!("{name}#"))
    };
    let is_free = |name: &String| !dims.iter().any(|dim| is_taken(dim, name));
    names
        .into_iter()
        .find(is_free)
        .expect("there are more names than dimensions")
}
