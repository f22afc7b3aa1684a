//! What a rule may know of its node.

use super::class::{Class, Classes, Content, Place, mentions};
use crate::graph::{Graph, Node, ValueId};
use crate::tensor::{Dim, Shape, Tensor};

/// Where the rows of the outputs are; one place stands for all outputs. Otherwise why rows mix.
pub(super) type Verdict = Result<Vec<Place>, String>;

pub(super) struct Site<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub classes: &'a Classes,
    /// The symbol for the number of rows.
    pub batch: &'a str,
}

impl<'a> Site<'a> {
    pub fn class(&self, idx: usize) -> Option<Class> {
        let value = self.node.input(idx)?;
        Some(self.classes.of(self.graph, value))
    }

    /// Where an input has its rows, if it carries any.
    pub fn place(&self, idx: usize) -> Option<Place> {
        match self.class(idx)? {
            Class::Rows(place, _) => Some(place),
            _ => None,
        }
    }

    pub fn need(&self, idx: usize) -> Result<Place, String> {
        let why = || format!("input {idx} carries no rows, and another does");
        self.place(idx).ok_or_else(why)
    }

    pub fn content(&self, idx: usize) -> Option<Content> {
        match self.class(idx)? {
            Class::Rows(_, content) => Some(content),
            _ => None,
        }
    }

    pub fn has(&self, idx: usize) -> bool {
        self.node.input(idx).is_some()
    }

    pub fn is_extent(&self, idx: usize) -> bool {
        self.class(idx) == Some(Class::Extent)
    }

    pub fn shape(&self, idx: usize) -> Result<&'a Shape, String> {
        let shape = |value: ValueId| self.graph.value(value).fact.shape.as_ref();
        let found = self.node.input(idx).and_then(shape);
        found.ok_or_else(|| format!("the rank of input {idx} is unknown"))
    }

    pub fn rank(&self, idx: usize) -> Result<usize, String> {
        Ok(self.shape(idx)?.rank())
    }

    pub fn out_shape(&self, idx: usize) -> Result<&'a Shape, String> {
        let shape = |value: ValueId| self.graph.value(value).fact.shape.as_ref();
        let found = self.node.output(idx).and_then(shape);
        found.ok_or_else(|| "the rank of the result is unknown".into())
    }

    pub fn constant(&self, idx: usize) -> Option<&'a Tensor> {
        self.graph.constant(self.node.input(idx)?)
    }

    /// The elements of an integer input, from a constant or from shape arithmetic.
    pub fn dims(&self, idx: usize) -> Option<Vec<Dim>> {
        let value = self.node.input(idx)?;
        if let Some(elements) = self.constant(idx).and_then(Tensor::to_i64s) {
            return Some(elements.into_iter().map(Dim::Size).collect());
        }
        self.graph.value(value).fact.value.clone()
    }

    /// The elements of an integer input when all are numbers.
    pub fn ints(&self, idx: usize) -> Option<Vec<i64>> {
        self.dims(idx)?.iter().map(Dim::value).collect()
    }

    /// [`Site::dims`], each either the same however many rows there are or plainly not.
    pub fn extents(&self, idx: usize) -> Result<Vec<Dim>, String> {
        let dims = self.dims(idx).filter(|dims| !dims.contains(&Dim::Unknown));
        dims.ok_or_else(|| format!("the elements of input {idx} are unknown"))
    }

    pub fn mentions(&self, dim: &Dim) -> bool {
        mentions(dim, self.batch)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attrs.int(name).unwrap_or(default)
    }

    /// An axis of a shape of that rank.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, String> {
        let found = Shape::unknown(rank).axis(axis);
        found.ok_or_else(|| format!("axis {axis} is not one of {rank}"))
    }

    /// The axis that an attribute names in input 0.
    pub fn axis_attr(&self, default: i64) -> Result<usize, String> {
        self.axis(self.int("axis", default), self.rank(0)?)
    }

    pub fn is_single(&self, idx: usize) -> bool {
        !self.has(idx)
            || self
                .shape(idx)
                .is_ok_and(|shape| shape.elements() == Dim::Size(1))
    }

    /// Refuses an input, aligned at the end of a result of that rank, that has its own values
    /// along the rows.
    pub fn expect_fit(&self, idx: usize, place: &Place, out_rank: usize) -> Result<(), String> {
        if !self.has(idx) {
            return Ok(());
        }
        let shape = self.shape(idx)?;
        let lead = out_rank.checked_sub(shape.rank());
        let lead = lead.ok_or_else(|| format!("input {idx} has more axes than the result"))?;
        if let Some(own) = self.place(idx) {
            if own.moved(own.axis + lead) == *place {
                return Ok(());
            }
            return Err("its inputs have their rows at different places".into());
        }
        match place.axis.checked_sub(lead).map(|axis| &shape[axis]) {
            None | Some(Dim::Size(1)) => Ok(()),
            Some(dim) => Err(format!(
                "input {idx} is no input of rows and has {dim} values along their axis"
            )),
        }
    }
}

/// Refuses to work along the axis of the rows.
pub(super) fn expect_other(axis: usize, place: &Place) -> Result<(), String> {
    if axis == place.axis {
        return Err(format!(
            "it works along axis {axis}, which is that of the rows"
        ));
    }
    Ok(())
}
