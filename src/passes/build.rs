//! Patches written as formulas: one node replaced by what the formula computes.

use std::cell::RefCell;

use half::{bf16, f16};

use super::Skip;
use crate::graph::{Graph, Node, NodeId, Patch, ValueId};
use crate::ops::{Attr, Attrs, OpName};
use crate::tensor::{DType, Fact, Shape, Tensor};

/// The value that takes the place of a node's first output.
pub(super) type Formula = Result<ValueId, Skip>;

/// One node being replaced. Operators made here are those of ONNX's own domain, unless their name
/// says `domain::name`.
///
/// Methods take `&self`, so that calls nest like the formula they stand for.
pub(super) struct Build<'g> {
    pub graph: &'g Graph,
    pub node: &'g Node,
    made: RefCell<Made>,
}

#[derive(Default)]
struct Made {
    values: Vec<New>,
    nodes: Vec<Node>,
    /// Further outputs of the node, and the values that take their place.
    outputs: Vec<(ValueId, ValueId)>,
}

enum New {
    Constant(Tensor),
    Output { stem: String },
}

/// The patch that puts a formula in the place of a node.
///
/// # Errors
/// What the formula says, and a refusal when an output that is read gets no value.
pub(super) fn replace(
    graph: &Graph,
    id: NodeId,
    formula: impl Fn(&Build) -> Formula,
) -> Result<Patch, Skip> {
    let build = Build {
        graph,
        node: graph.node(id),
        made: RefCell::default(),
    };
    let result = formula(&build)?;
    build.patch(id, result)
}

impl Build<'_> {
    /// A required input.
    pub fn input(&self, idx: usize) -> Formula {
        self.node
            .input(idx)
            .ok_or(Skip::Refused("a required input is missing"))
    }

    /// The first input.
    pub fn x(&self) -> Formula {
        self.input(0)
    }

    /// What is known of a value that the graph already has, or of a constant made here.
    pub fn fact(&self, value: ValueId) -> Fact {
        let made = self.made.borrow();
        match value.idx().checked_sub(self.graph.values().count()) {
            None => self.graph.value(value).fact.clone(),
            Some(idx) => match &made.values[idx] {
                New::Constant(tensor) => Fact::of(tensor),
                New::Output { .. } => Fact::default(),
            },
        }
    }

    pub fn dtype(&self, value: ValueId) -> Result<DType, Skip> {
        self.fact(value)
            .dtype
            .ok_or(Skip::Refused("an element type is unknown"))
    }

    pub fn shape(&self, value: ValueId) -> Result<Shape, Skip> {
        self.fact(value)
            .shape
            .ok_or(Skip::Refused("a rank is unknown"))
    }

    pub fn rank(&self, value: ValueId) -> Result<usize, Skip> {
        Ok(self.shape(value)?.rank())
    }

    /// All sizes of a value as numbers.
    pub fn sizes(&self, value: ValueId) -> Result<Vec<i64>, Skip> {
        let dims = self.shape(value)?.0;
        let sizes: Option<Vec<i64>> = dims.iter().map(|dim| dim.value()).collect();
        sizes.ok_or(Skip::Refused("a size is unknown"))
    }

    /// An axis attribute as an index below `rank`.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Skip> {
        Shape::unknown(rank)
            .axis(axis)
            .ok_or(Skip::Refused("an axis is outside the rank"))
    }

    /// The elements of a constant integer input.
    pub fn known_ints(&self, value: ValueId) -> Result<Vec<i64>, Skip> {
        let constant = self.graph.constant(value).and_then(Tensor::to_i64s);
        constant.ok_or(Skip::Refused("an input is not constant"))
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attrs.int(name).unwrap_or(default)
    }

    pub fn float(&self, name: &str, default: f32) -> f64 {
        self.node.attrs.float(name).unwrap_or(default).into()
    }

    pub fn constant(&self, tensor: Tensor) -> ValueId {
        self.push(New::Constant(tensor))
    }

    /// A rank-1 `i64` constant.
    pub fn ints(&self, elements: &[i64]) -> ValueId {
        self.constant(Tensor::vector(elements))
    }

    /// A rank-0 constant; a refusal when the type cannot hold the number.
    pub fn scalar(&self, dtype: DType, number: f64) -> Formula {
        Ok(self.constant(scalar(dtype, number)?))
    }

    /// A rank-0 constant of the element type of `x`.
    pub fn like(&self, x: ValueId, number: f64) -> Formula {
        self.scalar(self.dtype(x)?, number)
    }

    pub fn op(&self, name: &str, inputs: &[ValueId]) -> ValueId {
        self.op_with(name, inputs, [])
    }

    pub fn op_with<const N: usize>(
        &self,
        name: &str,
        inputs: &[impl Into<Option<ValueId>> + Copy],
        attrs: [(&str, Attr); N],
    ) -> ValueId {
        let mut all = Attrs::default();
        for (name, attr) in attrs {
            all.set(name, attr);
        }
        self.op_attrs(name, inputs, all)
    }

    pub fn op_attrs(
        &self,
        name: &str,
        inputs: &[impl Into<Option<ValueId>> + Copy],
        attrs: Attrs,
    ) -> ValueId {
        self.op_outputs(name, inputs, attrs, 1)[0]
    }

    pub fn op_outputs(
        &self,
        name: &str,
        inputs: &[impl Into<Option<ValueId>> + Copy],
        attrs: Attrs,
        n_outputs: usize,
    ) -> Vec<ValueId> {
        let mut inputs: Vec<Option<ValueId>> = inputs.iter().map(|&input| input.into()).collect();
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let (domain, name) = match name.split_once("::") {
            Some((domain, name)) => (Some(domain), name),
            None => (None, name),
        };
        let outputs: Vec<ValueId> = (0..n_outputs)
            .map(|_| {
                self.push(New::Output {
                    stem: name.to_owned(),
                })
            })
            .collect();
        let node = Node {
            name: self.node.name.clone(),
            attrs,
            ..Node::new(
                domain.map_or(OpName::onnx(name), |domain| OpName::new(domain, name)),
                inputs,
                outputs.iter().copied().map(Some).collect(),
            )
        };
        self.made.borrow_mut().nodes.push(node);
        outputs
    }

    /// The same node under another name, with other inputs and attributes.
    pub fn again(
        &self,
        name: &str,
        inputs: &[impl Into<Option<ValueId>> + Copy],
        attrs: Attrs,
    ) -> Formula {
        let outputs = self.op_outputs(name, inputs, attrs, self.node.outputs.len().max(1));
        self.made
            .borrow_mut()
            .nodes
            .last_mut()
            .expect("just made")
            .bodies = self.node.bodies.clone();
        for (idx, &output) in outputs.iter().enumerate().skip(1) {
            self.also(idx, output);
        }
        Ok(outputs[0])
    }

    /// Gives a further output of the node its value.
    pub fn also(&self, output_idx: usize, value: ValueId) {
        if let Some(output) = self.node.output(output_idx) {
            self.made.borrow_mut().outputs.push((output, value));
        }
    }

    /// True when something reads the output, or it may be read by name.
    pub fn is_read(&self, output_idx: usize) -> bool {
        self.node.output(output_idx).is_some_and(|value| {
            let mut nodes = self.graph.nodes();
            self.graph.is_pinned(value) || nodes.any(|(_, node)| node.inputs.contains(&Some(value)))
        })
    }

    pub fn add(&self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Add", &[a, b])
    }

    pub fn sub(&self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Sub", &[a, b])
    }

    pub fn mul(&self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Mul", &[a, b])
    }

    pub fn div(&self, a: ValueId, b: ValueId) -> ValueId {
        self.op("Div", &[a, b])
    }

    pub fn cast(&self, x: ValueId, to: DType) -> ValueId {
        self.op_with("Cast", &[x], [("to", Attr::Int(to.onnx().into()))])
    }

    pub fn reshape(&self, x: ValueId, shape: &[i64]) -> ValueId {
        self.op("Reshape", &[x, self.ints(shape)])
    }

    /// `x` under the shape that `like` has.
    pub fn reshape_like(&self, x: ValueId, like: ValueId) -> ValueId {
        self.op("Reshape", &[x, self.op("Shape", &[like])])
    }

    pub fn transpose(&self, x: ValueId, perm: &[i64]) -> ValueId {
        self.op_with("Transpose", &[x], [("perm", Attr::Ints(perm.to_vec()))])
    }

    pub fn unsqueeze(&self, x: ValueId, axes: &[i64]) -> ValueId {
        self.op("Unsqueeze", &[x, self.ints(axes)])
    }

    /// A reduction that keeps the reduced axes at size 1.
    pub fn reduce(&self, name: &str, x: ValueId, axes: &[i64]) -> ValueId {
        self.op_with(name, &[x, self.ints(axes)], [("keepdims", Attr::Int(1))])
    }

    fn push(&self, new: New) -> ValueId {
        let mut made = self.made.borrow_mut();
        made.values.push(new);
        ValueId::new(self.graph.values().count() + made.values.len() - 1)
    }

    fn patch(self, id: NodeId, result: ValueId) -> Result<Patch, Skip> {
        if let Some(output) = self.node.output(0) {
            self.made.borrow_mut().outputs.push((output, result));
        }
        let unbound = |idx: &usize| {
            let made = self.made.borrow();
            let bound = |value| made.outputs.iter().any(|(output, _)| *output == value);
            self.node.output(*idx).is_some_and(|value| !bound(value)) && self.is_read(*idx)
        };
        if (0..self.node.outputs.len()).any(|idx| unbound(&idx)) {
            return Err(Skip::Refused("an output that is read has no counterpart"));
        }
        let Build { graph, node, made } = self;
        let Made {
            values,
            mut nodes,
            outputs,
        } = made.into_inner();
        let first_new = graph.values().count();
        let mut patch = Patch::default();
        patch.remove(id);
        // Where an output takes the place of a new value, that value is never made.
        let mut ids: Vec<Option<ValueId>> = values.iter().map(|_| None).collect();
        for (output, value) in outputs {
            let new_idx = value.idx().checked_sub(first_new);
            match new_idx {
                Some(idx) if ids[idx].is_none() && matches!(values[idx], New::Output { .. }) => {
                    ids[idx] = Some(output);
                }
                _ => nodes.push(Node {
                    name: node.name.clone(),
                    ..Node::new(
                        OpName::onnx("Identity"),
                        vec![Some(value)],
                        vec![Some(output)],
                    )
                }),
            }
        }
        let stem = node
            .outputs
            .iter()
            .flatten()
            .next()
            .map(|&value| &*graph.value(value).name);
        let stem = stem.unwrap_or_default();
        for (new, id) in values.into_iter().zip(&mut ids) {
            *id = Some(match (new, *id) {
                (_, Some(output)) => output,
                (New::Constant(tensor), None) => {
                    patch.constant(graph, &format!("{stem}/const"), tensor)
                }
                (New::Output { stem: op }, None) => {
                    patch.value(graph, &format!("{stem}/{op}"), Fact::default())
                }
            });
        }
        let final_id = |value: ValueId| match value.idx().checked_sub(first_new) {
            None => Some(value),
            Some(idx) => ids[idx],
        };
        for mut node in nodes {
            for value in node.inputs.iter_mut().chain(&mut node.outputs) {
                *value = value.and_then(final_id);
            }
            patch.node(node);
        }
        Ok(patch)
    }
}

/// A rank-0 tensor of a number, in the element type nearest to what the caller computes in.
pub(super) fn scalar(dtype: DType, number: f64) -> Result<Tensor, Skip> {
    let refused = Skip::Refused("a constant does not fit the element type");
    let whole = || {
        let fits = number.fract() == 0.0 && number.abs() < 9e15;
        // The conversion is exact: doubles hold all whole numbers of that size.
        fits.then_some(number as i64).ok_or(refused)
    };
    Ok(match dtype {
        DType::F32 => Tensor::scalar(number as f32),
        DType::F64 => Tensor::scalar(number),
        DType::F16 => Tensor::scalar(f16::from_f64(number)),
        DType::BF16 => Tensor::scalar(bf16::from_f64(number)),
        DType::I64 => Tensor::scalar(whole()?),
        DType::I32 => Tensor::scalar(i32::try_from(whole()?).map_err(|_| refused)?),
        DType::I16 => Tensor::scalar(i16::try_from(whole()?).map_err(|_| refused)?),
        DType::I8 => Tensor::scalar(i8::try_from(whole()?).map_err(|_| refused)?),
        DType::U64 => Tensor::scalar(u64::try_from(whole()?).map_err(|_| refused)?),
        DType::U32 => Tensor::scalar(u32::try_from(whole()?).map_err(|_| refused)?),
        DType::U16 => Tensor::scalar(u16::try_from(whole()?).map_err(|_| refused)?),
        DType::U8 => Tensor::scalar(u8::try_from(whole()?).map_err(|_| refused)?),
        _ => return Err(refused),
    })
}
