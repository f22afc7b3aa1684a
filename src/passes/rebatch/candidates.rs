//! Which inputs may carry rows, likeliest first. Every choice is safe, for the walk proves it.

use std::collections::BTreeMap;

use super::Batch;
use crate::graph::Graph;
use crate::tensor::{Dim, Shape};

/// For each input of the graph the axis along which it carries rows.
#[derive(Clone, PartialEq)]
pub(super) struct Candidate {
    pub axes: Vec<Option<usize>>,
}

pub(super) fn candidates(graph: &Graph, axis: usize) -> (Batch, Vec<Candidate>) {
    let shapes: Vec<Option<&Shape>> = graph
        .inputs
        .iter()
        .map(|&id| graph.value(id).fact.shape.as_ref())
        .collect();
    let at_axis: Vec<&Dim> = shapes
        .iter()
        .filter_map(|shape| shape.as_ref()?.get(axis))
        .collect();
    if at_axis.is_empty() {
        let why = format!("no input is known to have an axis {axis}");
        return (Batch::None(why), Vec::new());
    }
    let is_open = |dim: &&Dim| !dim.is_known();
    if let Some(open) = most_frequent(at_axis.iter().copied().filter(is_open)) {
        let name = match open {
            Dim::Unknown => "batch".to_owned(),
            dim => dim.to_string(),
        };
        return (Batch::Symbol(name), with_symbol(&shapes, axis, open));
    }
    let size = most_frequent(at_axis.into_iter()).expect("there is one at least");
    let n_rows = size.value().expect("no size is open");
    if n_rows < 1 {
        return (Batch::None(format!("{n_rows} is no batch")), Vec::new());
    }
    (Batch::Fixed(n_rows), with_size(&shapes, axis, size))
}

/// The symbol wherever it stands; then also what is open at the axis or has one open axis
/// elsewhere, as a recurrent state has.
fn with_symbol(shapes: &[Option<&Shape>], axis: usize, open: &Dim) -> Vec<Candidate> {
    let named = |shape: &Shape| match open {
        Dim::Unknown => None,
        open if shape.get(axis) == Some(open) => Some(axis),
        open => shape.iter().position(|dim| dim == open),
    };
    let at_axis = |shape: &Shape| {
        let is_open = shape.get(axis).is_some_and(|dim| !dim.is_known());
        named(shape).or(is_open.then_some(axis))
    };
    let anywhere = |shape: &Shape| {
        let mut unknown = shape
            .iter()
            .enumerate()
            .filter(|(_, dim)| **dim == Dim::Unknown);
        let only = unknown.next().filter(|_| unknown.next().is_none());
        at_axis(shape).or(only.map(|(axis, _)| axis))
    };
    choices(shapes, &[&anywhere, &at_axis, &named])
}

/// The size at the axis; then also behind it in a state of several layers, or not in lists of one
/// number.
fn with_size(shapes: &[Option<&Shape>], axis: usize, size: &Dim) -> Vec<Candidate> {
    let at_axis = |shape: &Shape| (shape.get(axis) == Some(size)).then_some(axis);
    let behind = |shape: &Shape| {
        let is_state = shape.rank() > 2 && shape.get(axis + 1) == Some(size);
        at_axis(shape).or(is_state.then_some(axis + 1))
    };
    let of_tables = |shape: &Shape| at_axis(shape).filter(|_| shape.rank() > axis + 1);
    choices(shapes, &[&behind, &at_axis, &of_tables])
}

/// The axis of one input along which it carries rows.
type Choice<'a> = &'a dyn Fn(&Shape) -> Option<usize>;

fn choices(shapes: &[Option<&Shape>], rules: &[Choice]) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for rule in rules {
        let axes = shapes.iter().map(|shape| shape.and_then(rule));
        let candidate = Candidate {
            axes: axes.collect(),
        };
        let carries = candidate.axes.iter().any(Option::is_some);
        if carries && !found.contains(&candidate) {
            found.push(candidate);
        }
    }
    found
}

fn most_frequent<'a>(dims: impl Iterator<Item = &'a Dim>) -> Option<&'a Dim> {
    let mut counts: BTreeMap<String, (usize, usize, &Dim)> = BTreeMap::new();
    for (idx, dim) in dims.enumerate() {
        counts
            .entry(dim.to_string())
            .or_insert((0, usize::MAX - idx, dim))
            .0 += 1;
    }
    let best = counts
        .into_values()
        .max_by_key(|&(count, order, _)| (count, order));
    best.map(|(_, _, dim)| dim)
}
