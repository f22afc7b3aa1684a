//! Sequences of tensors, and values that may be absent. The fact of a sequence says what is known
//! of every tensor in it.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact, Kind, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "SequenceConstruct",
        |_, _| Ok(Box::new(Construct)),
        &[
            "input a: f32[2, n]\n input b: f32[2, 3]\n y = SequenceConstruct(a, b)\n output y: seq(f32[2, ?])",
        ],
    ),
    rules::onnx(
        "SequenceEmpty",
        empty,
        &["y = SequenceEmpty() {dtype = 7}\n output y: seq(i64)"],
    ),
    rules::onnx(
        "SequenceInsert",
        |_, _| Ok(Box::new(Insert)),
        &[
            "input s: seq(f32[2, 3])\n input a: f32[4, 3]\n y = SequenceInsert(s, a)\n output y: seq(f32[?, 3])",
        ],
    ),
    rules::onnx(
        "SequenceErase",
        |_, _| Ok(Box::new(Erase)),
        &[
            "input s: seq(f32[2])\n input i: i64[]\n y = SequenceErase(s, i)\n output y: seq(f32[2])",
        ],
    ),
    rules::onnx(
        "SequenceAt",
        |_, _| Ok(Box::new(At)),
        &["input s: seq(f32[2])\n input i: i64[]\n y = SequenceAt(s, i)\n output y: f32[2]"],
    ),
    rules::onnx(
        "SequenceLength",
        |_, _| Ok(Box::new(Length)),
        &["input s: seq(f32[2])\n y = SequenceLength(s)\n output y: i64[]"],
    ),
    rules::onnx(
        "SplitToSequence",
        split,
        &[
            "input x: f32[6, n]\n const k: i64[] = [2]\n y = SplitToSequence(x, k)\n output y: seq(f32[2, n])",
            "input x: f32[6, n]\n y = SplitToSequence(x) {keepdims = 0, axis = -1}\n output y: seq(f32[6])",
            "input x: f32[6, n]\n const k: i64[2] = [2, 4]\n y = SplitToSequence(x, k)\n output y: seq(f32[?, n])",
        ],
    ),
    rules::onnx(
        "ConcatFromSequence",
        concat,
        &[
            "input s: seq(f32[2, n])\n y = ConcatFromSequence(s) {axis = 0}\n output y: f32[?, n]",
            "input s: seq(f32[2, n])\n y = ConcatFromSequence(s) {axis = -1, new_axis = 1}\n output y: f32[2, n, ?]",
        ],
    ),
    rules::onnx(
        "Optional",
        |_, _| Ok(Box::new(Wrap)),
        &["input x: f32[2]\n y = Optional(x)\n output y: opt(f32[2])"],
    ),
    rules::onnx(
        "OptionalGetElement",
        |_, _| Ok(Box::new(Unwrap)),
        &["input x: opt(f32[2])\n y = OptionalGetElement(x)\n output y: f32[2]"],
    ),
    rules::onnx(
        "OptionalHasElement",
        |_, _| Ok(Box::new(IsThere)),
        &["input x: opt(f32[2])\n y = OptionalHasElement(x)\n output y: bool[]"],
    ),
];

fn sequence(dtype: Option<DType>, shape: Option<Shape>) -> Fact {
    Fact {
        kind: Kind::Sequence,
        ..rules::fact(dtype, shape)
    }
}

/// The fact of an input that must be a sequence.
///
/// # Errors
/// `DTYPE_MISMATCH` when it is something else.
fn need_sequence<'a>(inputs: &Inputs<'a>, idx: usize) -> Result<&'a Fact> {
    let fact = inputs.need(idx)?;
    if fact.kind != Kind::Sequence {
        let why = format!("input {idx} is {:?}, not a sequence", fact.kind);
        return Err(Error::dtype("", why));
    }
    Ok(fact)
}

/// What two shapes have in common.
fn common(a: Option<Shape>, b: Option<&Shape>) -> Option<Shape> {
    let (a, b) = (a?, b?);
    if a.rank() != b.rank() {
        return None;
    }
    let dims = a.0.into_iter().zip(b.iter());
    Some(
        dims.map(|(a, b)| if a == *b { a } else { Dim::Unknown })
            .collect(),
    )
}

struct Construct;

impl Op for Construct {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let n_inputs = inputs.facts.len();
        let dtype = rules::same_dtype(inputs, 0..n_inputs)?;
        let mut shape = rules::tensor(inputs, 0)?.shape.clone();
        for idx in 1..n_inputs {
            shape = common(shape, rules::tensor(inputs, idx)?.shape.as_ref());
        }
        Ok(vec![sequence(dtype, shape)])
    }
}

struct Empty {
    dtype: DType,
}

fn empty(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let number = attrs.int("dtype").unwrap_or(1);
    let dtype = rules::dtype_attr(number, "dtype")?;
    Ok(Box::new(Empty { dtype }))
}

impl Op for Empty {
    fn infer(&self, _: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![sequence(Some(self.dtype), None)])
    }
}

struct Insert;

impl Op for Insert {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let before = need_sequence(inputs, 0)?;
        let added = rules::tensor(inputs, 1)?;
        let dtype = rules::same_dtype(inputs, [0, 1])?;
        let shape = common(before.shape.clone(), added.shape.as_ref());
        Ok(vec![sequence(dtype, shape)])
    }
}

struct Erase;

impl Op for Erase {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![need_sequence(inputs, 0)?.clone()])
    }
}

struct At;

impl Op for At {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let from = need_sequence(inputs, 0)?;
        rules::tensor(inputs, 1)?;
        Ok(vec![rules::fact(from.dtype, from.shape.clone())])
    }
}

struct Length;

impl Op for Length {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        need_sequence(inputs, 0)?;
        Ok(vec![Fact::tensor(DType::I64, Shape::scalar())])
    }
}

struct Split {
    axis: i64,
    keep_axis: bool,
}

fn split(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Split {
        axis: attrs.int("axis").unwrap_or(0),
        keep_axis: attrs.int("keepdims") != Some(0),
    }))
}

impl Op for Split {
    /// x: [.., n, ..], lengths: one for all parts, or one each -> parts [.., length, ..]; without
    /// lengths parts of 1, whose axis may go.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let Some(mut shape) = x.shape.clone() else {
            return Ok(vec![sequence(x.dtype, None)]);
        };
        let axis = rules::axis_in(shape.rank(), self.axis)?;
        if inputs.get(1).is_none() {
            if self.keep_axis {
                shape.0[axis] = Dim::Size(1);
            } else {
                shape.0.remove(axis);
            }
            return Ok(vec![sequence(x.dtype, Some(shape))]);
        }
        let is_scalar = inputs.shape(1).is_some_and(|lengths| lengths.rank() == 0);
        let length = match inputs.ints(1) {
            Some(lengths) => part_length(&lengths, is_scalar, &shape[axis])?,
            None => None,
        };
        shape.0[axis] = length.unwrap_or(Dim::Unknown);
        Ok(vec![sequence(x.dtype, Some(shape))])
    }
}

/// The length that all parts have.
///
/// # Errors
/// `SHAPE_MISMATCH` when a length is negative or all of them together are not the whole.
fn part_length(lengths: &[i64], is_scalar: bool, whole: &Dim) -> Result<Option<Dim>> {
    let refuse = || Error::shape("", format!("{whole} does not split into {lengths:?}"));
    let total = lengths.iter().try_fold(0_i64, |sum, &length| {
        if length < 0 {
            None
        } else {
            sum.checked_add(length)
        }
    });
    let total = total.ok_or_else(refuse)?;
    let Some(&first) = lengths.first() else {
        return Ok(None);
    };
    if is_scalar {
        // The last part may be shorter.
        let remainder = whole
            .value()
            .map(|whole| whole.checked_rem(first).ok_or_else(refuse));
        return Ok((remainder.transpose()? == Some(0)).then_some(Dim::Size(first)));
    }
    rules::unify(whole, &Dim::Size(total)).ok_or_else(refuse)?;
    let equal = lengths.iter().all(|&length| length == first);
    Ok(equal.then_some(Dim::Size(first)))
}

struct Concat {
    axis: i64,
    new_axis: bool,
}

fn concat(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Concat {
        axis: rules::required(attrs.int("axis"), "axis")?,
        new_axis: check::flag(attrs, "new_axis"),
    }))
}

impl Op for Concat {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let from = need_sequence(inputs, 0)?;
        let mut shape = from.shape.clone();
        if let Some(shape) = &mut shape {
            let rank = shape.rank() + usize::from(self.new_axis);
            let axis = rules::axis_in(rank, self.axis)?;
            if self.new_axis {
                shape.0.insert(axis, Dim::Unknown);
            } else {
                shape.0[axis] = Dim::Unknown;
            }
        }
        Ok(vec![rules::fact(from.dtype, shape)])
    }
}

/// A value that is there, or, without an input, one that is not.
struct Wrap;

impl Op for Wrap {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let inner = inputs.get(0).cloned().unwrap_or_default();
        let kind = match inner.kind {
            Kind::Tensor => Kind::Optional,
            Kind::Sequence => Kind::OptionalSequence,
            other => other,
        };
        Ok(vec![Fact {
            kind,
            value: None,
            ..inner
        }])
    }
}

struct Unwrap;

impl Op for Unwrap {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let outer = inputs.need(0)?;
        let kind = match outer.kind {
            Kind::Optional => Kind::Tensor,
            Kind::OptionalSequence => Kind::Sequence,
            other => other,
        };
        Ok(vec![Fact {
            kind,
            ..outer.clone()
        }])
    }
}

struct IsThere;

impl Op for IsThere {
    fn infer(&self, _: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![Fact::tensor(DType::Bool, Shape::scalar())])
    }
}
