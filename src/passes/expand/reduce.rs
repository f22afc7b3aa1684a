//! Reductions, and what picks along an axis.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::Attr;
use crate::tensor::{DType, Tensor};

// sum |x|
pub(super) fn l1(b: &Build) -> Formula {
    Ok(reduce_like(b, "ReduceSum", b.op("Abs", &[b.x()?])))
}

// sqrt(sum x^2)
pub(super) fn l2(b: &Build) -> Formula {
    Ok(b.op("Sqrt", &[sum_square(b)?]))
}

// sum x^2
pub(super) fn sum_square(b: &Build) -> Formula {
    let x = b.x()?;
    Ok(reduce_like(b, "ReduceSum", b.mul(x, x)))
}

// log(sum x)
pub(super) fn log_sum(b: &Build) -> Formula {
    Ok(b.op("Log", &[reduce_like(b, "ReduceSum", b.x()?)]))
}

// m + log(sum exp(x - m)) with m = max x, which cannot overflow
pub(super) fn log_sum_exp(b: &Build) -> Formula {
    let x = b.x()?;
    if b.int("noop_with_empty_axes", 0) != 0 {
        return Err(Skip::Refused("noop_with_empty_axes is set"));
    }
    let kept = match b.node.input(1) {
        Some(axes) => b.op_with("ReduceMax", &[x, axes], [("keepdims", Attr::Int(1))]),
        None => b.op_with("ReduceMax", &[x], [("keepdims", Attr::Int(1))]),
    };
    let sum = reduce_like(b, "ReduceSum", b.op("Exp", &[b.sub(x, kept)]));
    Ok(b.add(reduce_like(b, "ReduceMax", x), b.op("Log", &[sum])))
}

/// Another reduction with the axes and attributes of the node.
fn reduce_like(b: &Build, name: &str, x: ValueId) -> ValueId {
    b.op_attrs(name, &[Some(x), b.node.input(1)], b.node.attrs.clone())
}

/// `ArgMax` and `ArgMin` of the last among equals: count from the other end.
pub(super) fn arg_last(b: &Build) -> Formula {
    if b.int("select_last_index", 0) == 0 {
        return super::exact::arg_first(b);
    }
    let x = b.x()?;
    let sizes = b.sizes(x)?;
    let axis = b.axis(b.int("axis", 0), sizes.len())?;
    let axes = b.ints(&[axis as i64]);
    let (last, before_first) = (b.ints(&[-1]), b.ints(&[i64::from(i32::MIN)]));
    let reversed = b.op("Slice", &[x, last, before_first, axes, b.ints(&[-1])]);
    let mut attrs = b.node.attrs.clone();
    attrs.remove("select_last_index");
    let from_end = b.op_attrs(&b.node.op.name, &[reversed], attrs);
    Ok(b.sub(b.constant(Tensor::scalar(sizes[axis] - 1)), from_end))
}

// one_hot(argmax(x))
pub(super) fn hardmax(b: &Build) -> Formula {
    let x = b.x()?;
    let axis = b.int("axis", -1);
    let attrs = [("axis", Attr::Int(axis)), ("keepdims", Attr::Int(0))];
    let first_max = b.op_with("ArgMax", &[x], attrs);
    let depth = match b.sizes(x) {
        Ok(sizes) => b.ints(&[sizes[b.axis(axis, sizes.len())?]]),
        Err(_) => b.op("Gather", &[b.op("Shape", &[x]), b.ints(&[axis])]),
    };
    let off_on = b.op_with(
        "Concat",
        &[
            b.reshape(b.like(x, 0.0)?, &[1]),
            b.reshape(b.like(x, 1.0)?, &[1]),
        ],
        [("axis", Attr::Int(0))],
    );
    Ok(b.op_with(
        "OneHot",
        &[first_max, depth, off_on],
        [("axis", Attr::Int(axis))],
    ))
}

/// `OneHot` whose indices or depth are whole numbers in a float type.
pub(super) fn one_hot(b: &Build) -> Formula {
    let (indices, depth, values) = (b.x()?, b.input(1)?, b.input(2)?);
    if !b.dtype(indices)?.is_float() && !b.dtype(depth)?.is_float() {
        return Err(Skip::NoMatch);
    }
    let whole = |value: ValueId| b.cast(value, DType::I64);
    Ok(b.op_attrs(
        "OneHot",
        &[whole(indices), whole(depth), values],
        b.node.attrs.clone(),
    ))
}
