//! What the shape rules of many operators share: broadcasting, axes, agreement of types and sizes.

use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact, Kind, MAX_VALUE_ELEMENTS, Shape};

/// A line of a `DEFS` table for one of ONNX's own operators.
pub(super) const fn onnx(
    name: &'static str,
    parse: fn(&Attrs, i64) -> Result<Box<dyn Op>>,
    cases: &'static [&'static str],
) -> OpDef {
    OpDef {
        domain: "",
        name,
        parse,
        cases,
    }
}

/// The fact of a required input that must be a tensor.
///
/// # Errors
/// `SHAPE_MISMATCH` when it is left out, `DTYPE_MISMATCH` when it is a sequence or an optional.
pub(super) fn tensor<'a>(inputs: &Inputs<'a>, idx: usize) -> Result<&'a Fact> {
    let fact = inputs.need(idx)?;
    if fact.kind != Kind::Tensor {
        let why = format!("input {idx} is {:?}, not a tensor", fact.kind);
        return Err(Error::dtype("", why));
    }
    Ok(fact)
}

/// Refuses an input of an element type that `takes` does not take; `what` names those it does.
pub(super) fn expect_dtype(
    inputs: &Inputs,
    idx: usize,
    takes: fn(DType) -> bool,
    what: &str,
) -> Result<()> {
    match inputs.dtype(idx) {
        Some(dtype) if !takes(dtype) => {
            let why = format!("input {idx} is {dtype}, expected {what}");
            Err(Error::dtype("", why))
        }
        _ => Ok(()),
    }
}

pub(super) fn is_number(dtype: DType) -> bool {
    dtype.is_float() || dtype.is_int()
}

pub(super) fn is_bool(dtype: DType) -> bool {
    dtype == DType::Bool
}

/// Refuses indices, axes and the like that are neither `i32` nor `i64`.
pub(super) fn expect_index(inputs: &Inputs, idx: usize) -> Result<()> {
    expect_dtype(
        inputs,
        idx,
        |dtype| matches!(dtype, DType::I32 | DType::I64),
        "i32 or i64",
    )
}

/// The one element type of several inputs, as far as it is known; inputs left out do not count.
///
/// # Errors
/// `DTYPE_MISMATCH` when two differ.
pub(super) fn same_dtype(
    inputs: &Inputs,
    idxs: impl IntoIterator<Item = usize>,
) -> Result<Option<DType>> {
    let mut first: Option<(usize, DType)> = None;
    for idx in idxs {
        let Some(dtype) = inputs.dtype(idx) else {
            continue;
        };
        match first {
            Some((first_idx, first)) if first != dtype => {
                let why = format!("input {first_idx} is {first}, input {idx} is {dtype}");
                return Err(Error::dtype("", why));
            }
            _ => first = Some((idx, dtype)),
        }
    }
    Ok(first.map(|(_, dtype)| dtype))
}

/// A tensor's fact from what is known of it.
pub(super) fn fact(dtype: Option<DType>, shape: Option<Shape>) -> Fact {
    Fact {
        dtype,
        shape,
        ..Fact::default()
    }
}

/// The fact with its elements, if they are few and at least one of them is known.
pub(super) fn with_value(mut fact: Fact, value: Option<Vec<Dim>>) -> Fact {
    let fits = |value: &Vec<Dim>| {
        value.len() <= MAX_VALUE_ELEMENTS
            && (value.is_empty() || value.iter().any(|dim| *dim != Dim::Unknown))
    };
    let vector = fact.shape.as_ref().is_some_and(|shape| shape.rank() <= 1);
    fact.value = value.filter(|value| vector && fits(value));
    fact
}

/// A dimension as an element of an integer tensor; out of the type's range it is unknown.
pub(super) fn fit(dtype: Option<DType>, element: Dim) -> Dim {
    let Some(number) = element.value() else {
        // Only signed types of some width hold every size and every difference of sizes.
        return match dtype {
            Some(DType::I64 | DType::I32) => element,
            _ => Dim::Unknown,
        };
    };
    let fits = match dtype {
        Some(DType::I64) => true,
        Some(DType::U64) => number >= 0,
        Some(DType::I32) => i32::try_from(number).is_ok(),
        Some(DType::U32) => u32::try_from(number).is_ok(),
        Some(DType::I16) => i16::try_from(number).is_ok(),
        Some(DType::U16) => u16::try_from(number).is_ok(),
        Some(DType::I8) => i8::try_from(number).is_ok(),
        Some(DType::U8) => u8::try_from(number).is_ok(),
        Some(DType::Bool) => (0..=1).contains(&number),
        _ => false,
    };
    if fits { element } else { Dim::Unknown }
}

/// Two sizes that must be one: the one that says more, or `None` when they are different numbers.
pub(super) fn unify(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Size(x), Dim::Size(y)) if x != y => None,
        (Dim::Size(_), _) | (_, Dim::Unknown) => Some(a.clone()),
        (_, Dim::Size(_)) | (Dim::Unknown, _) => Some(b.clone()),
        _ => Some(a.clone()),
    }
}

/// Two shapes that must be one, as far as they are known.
///
/// # Errors
/// `SHAPE_MISMATCH` when ranks or numbers differ; `what` names the two.
pub(super) fn unify_shapes(
    a: Option<&Shape>,
    b: Option<&Shape>,
    what: &str,
) -> Result<Option<Shape>> {
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(a.or(b).cloned());
    };
    let differ = || Error::shape("", format!("{what} differ: {a} and {b}"));
    if a.rank() != b.rank() {
        return Err(differ());
    }
    let dims = a.iter().zip(b.iter()).map(|(a, b)| unify(a, b));
    dims.collect::<Option<Vec<Dim>>>()
        .ok_or_else(differ)
        .map(|dims| Some(Shape(dims)))
}

/// Multidirectional broadcasting: shapes are aligned at their last dimensions, and a size of 1
/// takes the size of the other (ONNX, Broadcasting.md).
///
/// # Errors
/// `SHAPE_MISMATCH` when two sizes are different numbers and neither is 1.
pub(super) fn broadcast(a: &Shape, b: &Shape) -> Result<Shape> {
    let (long, short) = if a.rank() < b.rank() { (b, a) } else { (a, b) };
    let n_alone = long.rank() - short.rank();
    let mut dims = long.0.clone();
    for (dim, other) in dims[n_alone..].iter_mut().zip(short.iter()) {
        *dim = broadcast_dim(dim, other)
            .ok_or_else(|| Error::shape("", format!("{a} and {b} do not broadcast")))?;
    }
    Ok(Shape(dims))
}

/// The shape that all inputs broadcast to, if the shapes of all are known.
pub(super) fn broadcast_inputs(
    inputs: &Inputs,
    idxs: impl IntoIterator<Item = usize>,
) -> Result<Option<Shape>> {
    let mut result = Some(Shape::scalar());
    for idx in idxs {
        result = match (result, &tensor(inputs, idx)?.shape) {
            (Some(known), Some(shape)) => Some(broadcast(&known, shape)?),
            _ => None,
        };
    }
    Ok(result)
}

/// `None` when the two can never broadcast.
fn broadcast_dim(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Size(1), other) | (other, Dim::Size(1)) => Some(other.clone()),
        (Dim::Size(x), Dim::Size(y)) => (x == y).then(|| a.clone()),
        // A size that is no number here is either the other one or 1.
        (Dim::Size(_), _) => Some(a.clone()),
        (_, Dim::Size(_)) => Some(b.clone()),
        _ if a == b => Some(a.clone()),
        _ => Some(Dim::Unknown),
    }
}

/// Maps an axis in `-rank..rank` to `0..rank`.
///
/// # Errors
/// `SHAPE_MISMATCH` when it is outside.
pub(super) fn axis_in(rank: usize, axis: i64) -> Result<usize> {
    let rank_number = i64::try_from(rank).unwrap_or(i64::MAX);
    let idx = if axis < 0 {
        axis.saturating_add(rank_number)
    } else {
        axis
    };
    let idx = usize::try_from(idx).ok().filter(|&idx| idx < rank);
    idx.ok_or_else(|| Error::shape("", format!("axis {axis} is outside a rank of {rank}")))
}

/// Shapes of more dimensions come from broken files.
const MAX_RANK: usize = 64;

/// Refuses ranks that no model has, before work grows with them.
///
/// # Errors
/// `SHAPE_MISMATCH` when the rank is larger than 64.
pub(super) fn expect_rank_limit(rank: usize) -> Result<usize> {
    if rank > MAX_RANK {
        let why = format!("a rank of {rank} is more than {MAX_RANK}");
        return Err(Error::shape("", why));
    }
    Ok(rank)
}

/// Maps axes in `-rank..rank` to `0..rank`, in the given order.
///
/// # Errors
/// `SHAPE_MISMATCH` when one is outside or comes twice.
pub(super) fn axes_in(rank: usize, axes: &[i64]) -> Result<Vec<usize>> {
    expect_rank_limit(rank)?;
    let mut found = Vec::new();
    for &axis in axes {
        let idx = axis_in(rank, axis)?;
        if found.contains(&idx) {
            return Err(Error::shape(
                "",
                format!("axis {axis} comes twice in {axes:?}"),
            ));
        }
        found.push(idx);
    }
    Ok(found)
}

/// Refuses an input whose known rank is not `rank`.
pub(super) fn expect_rank(inputs: &Inputs, idx: usize, rank: usize) -> Result<()> {
    match inputs.shape(idx) {
        Some(shape) if shape.rank() != rank => {
            let why = format!("input {idx} has shape {shape}, expected a rank of {rank}");
            Err(Error::shape("", why))
        }
        _ => Ok(()),
    }
}

/// The number of elements of a rank-1 input.
///
/// # Errors
/// `SHAPE_MISMATCH` when it is known not to be rank 1.
pub(super) fn vector_len(inputs: &Inputs, idx: usize) -> Result<Option<usize>> {
    expect_rank(inputs, idx, 1)?;
    Ok(inputs.shape(idx).and_then(|shape| shape[0].size()))
}

/// The sizes in a shape input: as dimensions where they follow from facts, else unknown ones.
/// `None` when not even their number is known.
///
/// # Errors
/// `SHAPE_MISMATCH` when the input is not rank 1 or lists too many sizes.
pub(super) fn target_dims(inputs: &Inputs, idx: usize) -> Result<Option<Vec<Dim>>> {
    expect_index(inputs, idx)?;
    let Some(rank) = vector_len(inputs, idx)? else {
        return Ok(None);
    };
    expect_rank_limit(rank)?;
    Ok(Some(
        inputs.dims(idx).unwrap_or_else(|| vec![Dim::Unknown; rank]),
    ))
}

/// The one element of an integer input of one element.
///
/// # Errors
/// `SHAPE_MISMATCH` when the input has another number of elements.
pub(super) fn scalar(inputs: &Inputs, idx: usize) -> Result<Option<Dim>> {
    if let Some(shape) = inputs.shape(idx)
        && let Dim::Size(n) = shape.elements()
        && n != 1
    {
        let why = format!("input {idx} has shape {shape}, expected one element");
        return Err(Error::shape("", why));
    }
    Ok(inputs
        .dims(idx)
        .and_then(|elements| elements.first().cloned()))
}

/// An attribute that a node must have.
///
/// # Errors
/// `MODEL_PARSE` when it is missing or of another type.
pub(super) fn required<T>(attr: Option<T>, name: &str) -> Result<T> {
    attr.ok_or_else(|| {
        Error::parse(
            "",
            format!("attribute {name} is missing or has another type"),
        )
    })
}

/// An element type from ONNX's number in an attribute.
///
/// # Errors
/// `MODEL_UNSUPPORTED` when the number is none.
pub(super) fn dtype_attr(number: i64, name: &str) -> Result<DType> {
    DType::from_onnx(number).ok_or_else(|| {
        Error::unsupported(
            "",
            format!("attribute {name} is {number}, which is no element type"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[Dim]) -> Shape {
        Shape(dims.to_vec())
    }

    #[test]
    fn a_size_of_one_takes_the_other_size() {
        let n = Dim::symbol("n");
        let a = shape(&[n.clone(), 1_i64.into(), 3_i64.into()]);
        let b = shape(&[5_i64.into(), 1_i64.into()]);
        assert_eq!(broadcast(&a, &b).unwrap().to_string(), "[n, 5, 3]");
        let wide = shape(&[4_i64.into(), 5_i64.into(), 3_i64.into()]);
        assert_eq!(broadcast(&a, &wide).unwrap().to_string(), "[4, 5, 3]");
        let other = shape(&[Dim::symbol("m"), 5_i64.into(), 3_i64.into()]);
        assert_eq!(broadcast(&a, &other).unwrap().to_string(), "[?, 5, 3]");
        let empty = Shape::known(&[0]);
        assert_eq!(broadcast(&Shape::known(&[1]), &empty).unwrap(), empty);
    }

    #[test]
    fn different_sizes_do_not_broadcast() {
        let error = broadcast(&Shape::known(&[2, 3]), &Shape::known(&[4])).unwrap_err();
        assert_eq!(error.to_string(), "[2, 3] and [4] do not broadcast");
    }

    #[test]
    fn axes_outside_or_twice_are_refused() {
        assert_eq!(axes_in(3, &[-1, 0]).unwrap(), [2, 0]);
        assert!(axes_in(3, &[2, -1]).is_err());
        assert!(axes_in(3, &[3]).is_err());
        assert!(axes_in(3, &[i64::MIN]).is_err());
        assert!(axes_in(0, &[0]).is_err());
    }

    #[test]
    fn the_size_that_says_more_wins() {
        let n = Dim::symbol("n");
        assert_eq!(unify(&n, &Dim::Unknown), Some(n.clone()));
        assert_eq!(unify(&n, &Dim::Size(3)), Some(Dim::Size(3)));
        assert_eq!(unify(&Dim::Size(2), &Dim::Size(3)), None);
    }

    #[test]
    fn elements_beyond_their_type_are_forgotten() {
        assert_eq!(fit(Some(DType::U8), Dim::Size(256)), Dim::Unknown);
        assert_eq!(fit(Some(DType::I32), Dim::Size(-1)), Dim::Size(-1));
        assert_eq!(fit(Some(DType::U64), Dim::symbol("n")), Dim::Unknown);
    }
}
