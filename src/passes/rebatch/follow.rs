//! The rows of some inputs, followed through every path that a model may take.

use super::candidates::Candidate;
use super::class::{Class, Classes, Content};
use super::walk::{Paths, Walk, given};
use super::{Batch, Rows};
use crate::error::Result;
use crate::graph::{Graph, Source};
use crate::passes::Evaluate;
use crate::tensor::Dim;

/// A model with more ways through its conditions than that is refused.
const MAX_PATHS: usize = 32;

pub(super) struct Follow<'a> {
    pub graph: &'a Graph,
    pub batch: &'a Batch,
    /// For the number of rows; the graph does not have it.
    pub symbol: &'a str,
    pub evaluate: Evaluate<'a>,
}

impl Follow<'_> {
    /// What becomes of the rows when these inputs carry them, and the graph mended for that. Where
    /// a condition is known only later, every path that is possible must agree.
    pub fn follow(&self, candidate: &Candidate) -> Result<(Rows, Graph)> {
        let mut paths = Paths::default();
        let mut found: Option<(Rows, Graph)> = None;
        for _ in 0..MAX_PATHS {
            let (rows, walked) = self.path(candidate, &mut paths)?;
            if paths.is_only_one() {
                return Ok((rows, walked));
            }
            if let Batch::Fixed(_) = self.batch {
                let why = "a condition that is known only later stands before a fixed batch";
                return Ok((refused(rows, why), walked));
            }
            if paths.impossible.is_none() {
                match &found {
                    _ if rows.joinable.is_err() => return Ok((rows, walked)),
                    Some((known, _)) if known.outputs != rows.outputs => {
                        let why = "an output has its rows on one axis or another, by a condition";
                        return Ok((refused(rows, why), walked));
                    }
                    _ => found = Some((rows.clone(), walked.clone())),
                }
            }
            if !paths.advance() {
                let none = || (refused(rows, "no path through the model fits"), walked);
                return Ok(found.unwrap_or_else(none));
            }
        }
        let (rows, walked) = self.path(candidate, &mut Paths::default())?;
        let why = format!("there are more than {MAX_PATHS} paths through the model");
        Ok((refused(rows, &why), walked))
    }

    fn path(&self, candidate: &Candidate, paths: &mut Paths) -> Result<(Rows, Graph)> {
        let mut graph = self.graph.clone();
        let mut walk = Walk {
            batch: self.symbol,
            baked: match self.batch {
                Batch::Fixed(n_rows) => Some(*n_rows),
                _ => None,
            },
            evaluate: self.evaluate,
            n_named: 0,
            paths: std::mem::take(paths),
        };
        let mut classes = Classes::default();
        forget_shapes(&mut graph);
        let mut inputs = Vec::new();
        for (&id, &axis) in graph.inputs.clone().iter().zip(&candidate.axes) {
            let value = graph.value_mut(id);
            value.fact.value = None;
            inputs.push((value.name.to_string(), axis));
            for (at, dim) in value
                .fact
                .shape
                .iter_mut()
                .flat_map(|shape| shape.0.iter_mut())
                .enumerate()
            {
                if axis == Some(at) {
                    *dim = Dim::symbol(self.symbol);
                } else if *dim == Dim::Unknown {
                    *dim = walk.name();
                }
            }
            classes.set(id, axis.map_or(Class::Shared, given));
        }
        walk.graph(&mut graph, &mut classes)?;
        *paths = walk.paths;
        let mut outputs = Vec::new();
        let mut joinable = Ok(());
        for &id in &graph.outputs {
            let name = graph.value(id).name.to_string();
            let axis = match classes.of(&graph, id) {
                Class::Rows(place, Content::Row) if place.is_plain() => Ok(Some(place.axis)),
                Class::Rows(_, Content::Row) => {
                    Err(format!("output {name} has several rows side by side"))
                }
                Class::Rows(..) => Err(format!("output {name} depends on the number of the row")),
                Class::Extent => Err(format!("output {name} depends on how many rows there are")),
                Class::Mixed(why) => Err(why.to_string()),
                Class::Shared => Ok(None),
            };
            outputs.push((name, axis.clone().unwrap_or_default()));
            joinable = joinable.and(axis.map(|_| ()));
        }
        if joinable.is_err() {
            outputs.iter_mut().for_each(|(_, axis)| *axis = None);
        } else if outputs.iter().all(|(_, axis)| axis.is_none()) {
            joinable = Err("no output depends on the rows".into());
        }
        let rows = Rows {
            inputs,
            outputs,
            batch: self.batch.clone(),
            joinable,
        };
        Ok((rows, graph))
    }
}

fn refused(rows: Rows, why: &str) -> Rows {
    Rows {
        joinable: Err(why.into()),
        ..rows
    }
}

/// Shapes that a model declares inside are those of the batch it was made for.
pub(super) fn forget_shapes(graph: &mut Graph) {
    let made: Vec<_> = graph.values().map(|(id, _)| id).collect();
    for id in made {
        let value = graph.value_mut(id);
        if !matches!(value.source, Source::Input { .. } | Source::Constant(_)) {
            value.fact.shape = None;
            value.fact.value = None;
        }
    }
    let nodes: Vec<_> = graph.nodes().map(|(id, _)| id).collect();
    for id in nodes {
        graph
            .node_mut(id)
            .bodies
            .values_mut()
            .for_each(forget_shapes);
    }
}
