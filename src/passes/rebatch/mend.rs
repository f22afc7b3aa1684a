//! Nodes that say how many rows there are, brought to say that of any number.
//!
//! For the number that the model was made for, a mended node computes what it did before.

use super::class::{Class, Classes, Place, Product};
use super::rules;
use super::walk::rows_of;
use crate::error::Result;
use crate::graph::{Graph, Node, NodeId, Source, ValueId};
use crate::ops::{Attr, OpName};
use crate::tensor::{Dim, Fact, Shape, Tensor};

/// What exporters write for the end of an axis of any size; no batch has as many rows.
pub(super) const FAR: i64 = 1_000_000_000;

/// Mends a node, also where no number of rows is baked in but one that stands for all; returns the nodes that were put before it, in order.
pub(super) fn mend(
    graph: &mut Graph,
    id: NodeId,
    classes: &Classes,
    batch: &str,
    baked: Option<i64>,
) -> Result<Vec<NodeId>> {
    let node = graph.node(id);
    let carriers = node.inputs.iter().enumerate().filter_map(|(idx, value)| {
        let value = (*value)?;
        Some((idx, value, rows_of(&classes.of(graph, value))?))
    });
    let Some((input_idx, value, place)) = carriers.into_iter().next() else {
        return Ok(Vec::new());
    };
    let mut mend = Mend {
        graph,
        id,
        value,
        place,
        batch,
        n_rows: baked.unwrap_or(FAR),
        added: Vec::new(),
    };
    let name = mend.graph.node(id).op.clone();
    match &*name.name {
        "Slice" if name.is("Slice") && input_idx == 0 => mend.slice()?,
        _ if baked.is_none() => {}
        _ if rules::is_broadcast(&name.to_string()) => mend.broadcast(classes)?,
        _ if !name.domain.is_empty() => {}
        "Concat" => mend.concat(classes)?,
        "GRU" | "LSTM" | "RNN" if input_idx == 0 => mend.states(classes)?,
        "Expand" if input_idx == 0 => mend.expand()?,
        "Reshape" if input_idx == 0 => mend.reshape()?,
        "Resize" if input_idx == 0 => mend.resize()?,
        "Squeeze" if input_idx == 0 => mend.squeeze()?,
        _ => {}
    }
    Ok(mend.added)
}

struct Mend<'a> {
    graph: &'a mut Graph,
    id: NodeId,
    /// The first input that carries rows.
    value: ValueId,
    place: Place,
    batch: &'a str,
    n_rows: i64,
    added: Vec<NodeId>,
}

impl Mend<'_> {
    fn shape(&self, value: ValueId) -> Option<Shape> {
        self.graph.value(value).fact.shape.clone()
    }

    /// The elements of a constant input.
    fn ints(&self, input_idx: usize) -> Option<Vec<i64>> {
        let value = self.graph.node(self.id).input(input_idx)?;
        self.graph.constant(value)?.to_i64s()
    }

    fn set_input(&mut self, input_idx: usize, value: ValueId) {
        let inputs = &mut self.graph.node_mut(self.id).inputs;
        inputs.resize(inputs.len().max(input_idx + 1), None);
        inputs[input_idx] = Some(value);
    }

    fn set_ints(&mut self, input_idx: usize, ints: &[i64]) -> Result<()> {
        let value = self.constant(ints)?;
        self.set_input(input_idx, value);
        Ok(())
    }

    fn constant(&mut self, ints: &[i64]) -> Result<ValueId> {
        let name = self.graph.fresh_name("rows");
        self.graph.add_constant(&name, Tensor::vector(ints))
    }

    fn add(&mut self, op: &str, inputs: &[ValueId], attrs: &[(&str, Attr)]) -> Result<ValueId> {
        let name = self.graph.fresh_name("rows");
        let output = self
            .graph
            .add_value(&name, Fact::default(), Source::Nothing)?;
        let inputs = inputs.iter().copied().map(Some).collect();
        let mut node = Node::new(OpName::onnx(op), inputs, vec![Some(output)]);
        for (name, attr) in attrs {
            node = node.with_attr(name, attr.clone());
        }
        self.added.push(self.graph.add_node(node)?);
        Ok(output)
    }

    /// These numbers with the size of the axis of the rows at one place.
    fn with_size(&mut self, ints: &[i64], at: usize) -> Result<ValueId> {
        let axis = self.place.axis as i64;
        let (before, after) = (self.constant(&ints[..at])?, self.constant(&ints[at + 1..])?);
        let axis = self.constant(&[axis])?;
        let shape = self.add("Shape", &[self.value], &[])?;
        let size = self.add("Gather", &[shape, axis], &[])?;
        self.add("Concat", &[before, size, after], &[("axis", Attr::Int(0))])
    }

    /// One item for every row.
    fn spread(&mut self, input_idx: usize, axis: usize) -> Result<()> {
        let value = self.graph.node(self.id).input(input_idx);
        let value = value.expect("the caller has seen the input");
        let rank = self.shape(value).map_or(0, |shape| shape.rank());
        let target = self.with_size(&vec![1; rank], axis)?;
        let spread = self.add("Expand", &[value, target], &[])?;
        self.set_input(input_idx, spread);
        Ok(())
    }

    /// Makes an input that is the same for all rows, and says so for each row that the model was
    /// made for, one item; returns whether it is one.
    fn narrow(&mut self, classes: &Classes, input_idx: usize, axis: usize) -> Result<bool> {
        let Some(value) = self.graph.node(self.id).input(input_idx) else {
            return Ok(false);
        };
        let size = self.shape(value).and_then(|shape| shape.get(axis)?.value());
        if classes.of(self.graph, value) != Class::Shared || size != Some(self.n_rows) {
            return Ok(false);
        }
        if self.n_rows == 1 {
            return Ok(true);
        }
        let one = self
            .graph
            .constant(value)
            .and_then(|tensor| one_item(tensor, axis));
        let Some(one) = one else { return Ok(false) };
        let name = self.graph.fresh_name("rows");
        let one = self.graph.add_constant(&name, one)?;
        self.set_input(input_idx, one);
        Ok(true)
    }

    fn broadcast(&mut self, classes: &Classes) -> Result<()> {
        let inputs: Vec<Option<ValueId>> = self.graph.node(self.id).inputs.clone();
        let ranks = inputs
            .iter()
            .map(|value| Some(self.shape((*value)?)?.rank()));
        let ranks: Vec<Option<usize>> = ranks.collect();
        let own = self.shape(self.value).map_or(0, |shape| shape.rank());
        for (input_idx, rank) in ranks.into_iter().enumerate() {
            let axis = rank.and_then(|rank| (self.place.axis + rank).checked_sub(own));
            if let (Some(axis), true) = (axis, self.place.is_plain()) {
                self.narrow(classes, input_idx, axis)?;
            }
        }
        Ok(())
    }

    fn concat(&mut self, classes: &Classes) -> Result<()> {
        for input_idx in 0..self.graph.node(self.id).inputs.len() {
            self.spread_item(classes, input_idx, self.place.axis)?;
        }
        Ok(())
    }

    fn states(&mut self, classes: &Classes) -> Result<()> {
        for input_idx in [5, 6] {
            self.spread_item(classes, input_idx, self.place.axis)?;
        }
        Ok(())
    }

    fn spread_item(&mut self, classes: &Classes, input_idx: usize, axis: usize) -> Result<()> {
        if self.place.is_plain() && self.narrow(classes, input_idx, axis)? {
            self.spread(input_idx, axis)?;
        }
        Ok(())
    }

    /// Where the target says the number of rows, one keeps the size of the input.
    fn expand(&mut self) -> Result<()> {
        let (Some(mut target), Some(shape)) = (self.ints(1), self.shape(self.value)) else {
            return Ok(());
        };
        let axis = (self.place.axis + target.len()).checked_sub(shape.rank());
        let Some(axis) = axis.filter(|&axis| axis < target.len()) else {
            return Ok(());
        };
        let size = self.baked(&shape[self.place.axis]).value();
        if Some(target[axis]) == size && target[axis] != 1 {
            target[axis] = 1;
            self.set_ints(1, &target)?;
        }
        Ok(())
    }

    fn resize(&mut self) -> Result<()> {
        let (Some(sizes), Some(shape)) = (self.ints(3), self.shape(self.value)) else {
            return Ok(());
        };
        let axis = self.place.axis;
        let is_whole = self.graph.node(self.id).attrs.get("axes").is_none();
        if is_whole && sizes.get(axis).copied() == self.baked(&shape[axis]).value() {
            let sizes = self.with_size(&sizes, axis)?;
            self.set_input(3, sizes);
        }
        Ok(())
    }

    /// The end of all rows, however many.
    fn slice(&mut self) -> Result<()> {
        let (Some(starts), Some(mut ends)) = (self.ints(1), self.ints(2)) else {
            return Ok(());
        };
        let Some(shape) = self.shape(self.value) else {
            return Ok(());
        };
        let axes = match self.graph.node(self.id).input(3) {
            None => (0..ends.len() as i64).collect(),
            Some(_) => self.ints(3).unwrap_or_default(),
        };
        let at = axes
            .iter()
            .position(|&axis| shape.axis(axis) == Some(self.place.axis));
        let Some(at) = at.filter(|&at| at < starts.len() && at < ends.len()) else {
            return Ok(());
        };
        let size = self.baked(&shape[self.place.axis]).value();
        if starts[at] == 0 && size.is_some_and(|size| ends[at] >= size) {
            ends[at] = i64::MAX;
            self.set_ints(2, &ends)?;
        }
        Ok(())
    }

    /// Names the axes that it took with several rows; with one it took that of the rows too.
    fn squeeze(&mut self) -> Result<()> {
        if self.n_rows == 1 {
            return Ok(());
        }
        let (None, Some(shape)) = (self.graph.node(self.id).input(1), self.shape(self.value))
        else {
            return Ok(());
        };
        if !shape.iter().all(|dim| self.baked(dim).is_known()) {
            return Ok(());
        }
        let is_one = |axis: &usize| shape[*axis] == Dim::Size(1);
        let axes: Vec<i64> = (0..shape.rank())
            .filter(is_one)
            .map(|axis| axis as i64)
            .collect();
        self.set_ints(1, &axes)
    }

    /// A size for the number of rows that the model was made for.
    fn baked(&self, dim: &Dim) -> Dim {
        dim.bind(&|name| (name == self.batch).then_some(self.n_rows))
    }

    fn reshape(&mut self) -> Result<()> {
        let allow_zero = self.graph.node(self.id).attrs.int("allowzero").unwrap_or(0) != 0;
        let (Some(target), Some(from)) = (self.ints(1), self.shape(self.value)) else {
            return Ok(());
        };
        let Some(to) = self.resolved(&from, &target, allow_zero) else {
            return Ok(());
        };
        let Some(at) = self.axis_of_rows(&from, &to) else {
            return Ok(());
        };
        let copies = |axis: usize| target[axis] == 0 && !allow_zero;
        if target[at] == -1 || (copies(at) && at == self.place.axis) {
            return Ok(());
        }
        let mut mended = target.clone();
        if let Some(rest) = target.iter().position(|&size| size == -1) {
            let Some(size) = to[rest].value() else {
                return Ok(());
            };
            mended[rest] = size;
        }
        mended[at] = -1;
        self.set_ints(1, &mended)
    }

    /// The shape that a target means for the number of rows that the model was made for.
    fn resolved(&self, from: &Shape, target: &[i64], allow_zero: bool) -> Option<Vec<Dim>> {
        let from: Vec<Dim> = from.iter().map(|dim| self.baked(dim)).collect();
        let mut to: Vec<Dim> = Vec::new();
        for (axis, &size) in target.iter().enumerate() {
            to.push(match size {
                0 if !allow_zero => from.get(axis)?.clone(),
                size => Dim::Size(size),
            });
        }
        if let Some(rest) = target.iter().position(|&size| size == -1) {
            to[rest] = Dim::Size(1);
            let size = Product::of(&from)?.over(&Product::of(&to)?)?;
            to[rest] = size.dim();
        }
        Some(to)
    }

    /// The axis of a reshaped value that the rows come to. Where several would do, each row for
    /// itself is likelier than several beside each other, and neither goes into the last axis,
    /// which is that of the features.
    fn axis_of_rows(&self, from: &Shape, to: &[Dim]) -> Option<usize> {
        let axis = self.place.axis;
        let from: Vec<Dim> = from.iter().map(|dim| self.baked(dim)).collect();
        let n_rows = Product::of(&[Dim::Size(self.n_rows)])?;
        let before = Product::of(&from[..axis])?.times(&self.place.outer)?;
        let after = Product::of(&from[axis + 1..])?.times(&self.place.inner)?;
        let candidate = |at: usize| {
            let outer = before.clone().over(&Product::of(&to[..at])?)?;
            let inner = after.clone().over(&Product::of(&to[at + 1..])?)?;
            let size = outer.clone().times(&inner)?.times(&n_rows)?;
            let is_last = at + 1 == to.len() && axis + 1 != from.len() && to.len() > 1;
            let cost = (is_last && !inner.is_one(), !outer.is_one(), !inner.is_one());
            (size == Product::of(&to[at..=at])?).then_some((cost, at))
        };
        (0..to.len()).filter_map(candidate).min().map(|(_, at)| at)
    }
}

/// The first of several items along an axis that are all alike.
fn one_item(tensor: &Tensor, axis: usize) -> Option<Tensor> {
    let mut sizes = tensor.sizes().to_vec();
    let n_before: usize = sizes[..axis].iter().product();
    let n_items = std::mem::replace(&mut sizes[axis], 1);
    let item_bytes = tensor.dtype().size_bytes(sizes[axis..].iter().product())?;
    // Items of no elements, or that share a byte, are not told from each other.
    if item_bytes == 0 || tensor.bytes().len() != n_before * n_items * item_bytes {
        return None;
    }
    let mut bytes = Vec::with_capacity(n_before * item_bytes);
    for items in tensor.bytes().chunks(n_items * item_bytes) {
        let (first, _) = items.split_at_checked(item_bytes)?;
        if items.chunks(item_bytes).any(|item| item != first) {
            return None;
        }
        bytes.extend(first);
    }
    Tensor::from_bytes(tensor.dtype(), &sizes, bytes).ok()
}
