//! Operators that backends compute almost right, as formulas of ones that they compute exactly.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::{Attr, Attrs};
use crate::tensor::{DType, Tensor};

/// `ArgMax` and `ArgMin` of the first among equals, which is the order of `TopK`.
pub(super) fn arg_first(b: &Build) -> Formula {
    let axis = b.int("axis", 0);
    let largest = i64::from(b.node.op.is("ArgMax"));
    let mut attrs = Attrs::default();
    attrs.set("axis", Attr::Int(axis));
    attrs.set("largest", Attr::Int(largest));
    let indices = b.op_outputs("TopK", &[b.x()?, b.ints(&[1])], attrs, 2)[1];
    if b.int("keepdims", 1) == 0 {
        return Ok(b.op("Squeeze", &[indices, b.ints(&[axis])]));
    }
    Ok(indices)
}

/// `Squeeze` and `Unsqueeze` with a single axis as the list that the specification asks for.
pub(super) fn axes_as_list(b: &Build) -> Formula {
    let axes = b.input(1)?;
    if b.rank(axes)? != 0 {
        return Err(Skip::NoMatch);
    }
    b.again(
        &b.node.op.name,
        &[b.x()?, b.reshape(axes, &[1])],
        b.node.attrs.clone(),
    )
}

// x as bool: not(x == 0)
pub(super) fn cast_to_bool(b: &Build) -> Formula {
    let x = b.x()?;
    let to_bool = b.int("to", 0) == i64::from(DType::Bool.onnx());
    if !to_bool || b.dtype(x)? == DType::Bool {
        return Err(Skip::NoMatch);
    }
    Ok(b.op("Not", &[b.op("Equal", &[x, b.like(x, 0.0)?])]))
}

// (x > 0) - (x < 0)
pub(super) fn sign(b: &Build) -> Formula {
    let x = b.x()?;
    let dtype = b.dtype(x)?;
    let zero = b.like(x, 0.0)?;
    let above = b.cast(b.op("Greater", &[x, zero]), dtype);
    Ok(b.sub(above, b.cast(b.op("Less", &[x, zero]), dtype)))
}

// saturate(round(x / scale) + zero_point): multiplying by 1 / scale instead moves ties
pub(super) fn quantize_linear(b: &Build) -> Formula {
    let x = b.x()?;
    let (scale, zero_point) = (b.input(1)?, b.node.input(2));
    let dtype = match zero_point {
        Some(zero_point) => b.dtype(zero_point)?,
        None => match b.int("output_dtype", 0) {
            0 => DType::U8,
            number => DType::from_onnx(number).ok_or(Skip::Refused("output_dtype is no type"))?,
        },
    };
    if b.int("block_size", 0) != 0 {
        return Err(Skip::Refused("blocks"));
    }
    let along_axis = |value: ValueId| -> Formula {
        if b.rank(value)? == 0 || b.sizes(value)? == [1] {
            return Ok(b.reshape(value, &[]));
        }
        let rank = b.rank(x)?;
        let mut shape = vec![1; rank];
        shape[b.axis(b.int("axis", 1), rank)?] = -1;
        Ok(b.reshape(value, &shape))
    };
    let wide = |value| b.cast(value, DType::F32);
    let is_single = b.rank(scale)? == 0 || b.sizes(scale)? == [1];
    let scale = wide(along_axis(scale)?);
    let scale = if is_single {
        spread(b, scale, x)
    } else {
        scale
    };
    let scaled = b.op("Round", &[b.div(wide(x), scale)]);
    let shifted = match zero_point {
        Some(zero_point) => b.add(scaled, wide(along_axis(zero_point)?)),
        None => scaled,
    };
    saturated(b, shifted, dtype)
}

/// A single number as often as a division by it needs to be one: backends multiply by the
/// reciprocal of a divisor of one element.
fn spread(b: &Build, number: ValueId, x: ValueId) -> ValueId {
    let last = b
        .fact(x)
        .shape
        .and_then(|shape| shape.last()?.size())
        .filter(|&size| size > 1);
    let shape = match last {
        Some(size) => b.ints(&[size as i64]),
        None => b.op("Shape", &[x]),
    };
    b.op("Expand", &[number, shape])
}

/// The quotient of two numbers.
fn quotient(b: &Build, dividend: ValueId, divisor: ValueId) -> ValueId {
    let two = b.ints(&[2]);
    let pair = b.div(
        b.op("Expand", &[dividend, two]),
        b.op("Expand", &[divisor, two]),
    );
    b.op("Gather", &[pair, b.constant(Tensor::scalar(0_i64))])
}

/// Whole numbers in f32 as integers, those outside the type at its ends.
fn saturated(b: &Build, x: ValueId, dtype: DType) -> Formula {
    let (low, high) = match dtype {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        _ => return Err(Skip::Refused("only 8-bit integers")),
    };
    let (low, high) = (b.scalar(DType::F32, low)?, b.scalar(DType::F32, high)?);
    Ok(b.cast(b.op("Clip", &[x, low, high]), dtype))
}

/// Outputs y, its scale and zero point, for the range of x with 0 in it (`DynamicQuantizeLinear`
/// of Operators.md; a range of nothing has scale 1, as in ONNX Runtime).
pub(super) fn dynamic_quantize_linear(b: &Build) -> Formula {
    let x = b.x()?;
    let number = |n: f64| b.scalar(DType::F32, n);
    let whole = |name| b.op_with(name, &[x], [("keepdims", Attr::Int(0))]);
    let high = b.op("Max", &[whole("ReduceMax"), number(0.0)?]);
    let low = b.op("Min", &[whole("ReduceMin"), number(0.0)?]);
    let range = quotient(b, b.sub(high, low), number(255.0)?);
    let is_empty = b.op("Equal", &[range, number(0.0)?]);
    let scale = b.op("Where", &[is_empty, number(1.0)?, range]);
    let offset = b.op("Round", &[quotient(b, b.sub(number(0.0)?, low), scale)]);
    let offset = b.op("Clip", &[offset, number(0.0)?, number(255.0)?]);
    b.also(1, scale);
    b.also(2, b.cast(offset, DType::U8));
    let scaled = b.op("Round", &[b.div(x, spread(b, scale, x))]);
    saturated(b, b.add(scaled, offset), DType::U8)
}

// x + v = x - (-v)
pub(super) fn sum_with_vector(b: &Build) -> Formula {
    let (x, v) = (b.x()?, b.input(1)?);
    let (x, v) = if b.graph.constant(v).is_some() {
        (x, v)
    } else {
        (v, x)
    };
    if b.graph.constant(v).is_none() || b.dtype(v)? == DType::U8 {
        return Err(Skip::NoMatch);
    }
    Ok(b.sub(x, b.op("Neg", &[v])))
}

/// The first of two with as many axes as the second.
pub(super) fn equal_ranks(b: &Build) -> Formula {
    let (x, y) = (b.x()?, b.input(1)?);
    let missing = b.rank(y)?.saturating_sub(b.rank(x)?);
    if missing == 0 {
        return Err(Skip::NoMatch);
    }
    let axes: Vec<i64> = (0..missing as i64).collect();
    let inputs = [b.unsqueeze(x, &axes), y];
    b.again(&b.node.op.name, &inputs, b.node.attrs.clone())
}

// max(x, 0) + log(1 + exp(-|x|)): exp(x) is infinite from 89 on
pub(super) fn softplus(b: &Build) -> Formula {
    let x = b.x()?;
    let far = b.op("Exp", &[b.op("Neg", &[b.op("Abs", &[x])])]);
    let near = b.op("Log", &[b.add(far, b.like(x, 1.0)?)]);
    Ok(b.add(b.op("Max", &[x, b.like(x, 0.0)?]), near))
}

/// `Slice` with steps along one axis after the other, each in the middle of three.
pub(super) fn slice_by_axes(b: &Build) -> Formula {
    let mut x = b.x()?;
    let mut sizes = b.sizes(x)?;
    let [starts, ends] = [1, 2].map(|idx| b.known_ints(b.input(idx)?));
    let (starts, ends) = (starts?, ends?);
    let n_axes = starts.len() as i64;
    let axes = match b.node.input(3) {
        Some(axes) => b.known_ints(axes)?,
        None => (0..n_axes).collect(),
    };
    let steps = b.known_ints(b.input(4)?)?;
    if sizes.len() <= 4 || steps.iter().all(|&step| step == 1) {
        return Err(Skip::NoMatch);
    }
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = b.axis(axis, sizes.len())?;
        let size = sizes[axis];
        let outer = sizes[..axis].iter().product();
        let inner = sizes[axis + 1..].iter().product();
        let lists = [start, end, 1, step].map(|number| b.ints(&[number]));
        let inputs = [
            with_nothing(b, x, &[outer, size, inner]),
            lists[0],
            lists[1],
            lists[2],
            lists[3],
        ];
        x = b.op("Slice", &inputs);
        sizes[axis] = n_steps(size, start, end, step)?;
    }
    Ok(with_nothing(b, x, &sizes))
}

/// A reshape to sizes of which 0 means 0.
fn with_nothing(b: &Build, x: ValueId, sizes: &[i64]) -> ValueId {
    b.op_with(
        "Reshape",
        &[x, b.ints(sizes)],
        [("allowzero", Attr::Int(1))],
    )
}

/// How many places a slice takes of an axis.
fn n_steps(size: i64, start: i64, end: i64, step: i64) -> Result<i64, Skip> {
    let from_end = |at: i64| if at < 0 { at + size } else { at };
    let span = match step.signum() {
        1 => from_end(end).clamp(0, size) - from_end(start).clamp(0, size),
        -1 => from_end(start).clamp(-1, size - 1) - from_end(end).clamp(-1, size - 1),
        _ => return Err(Skip::Refused("a step is 0")),
    };
    let step = i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX);
    Ok(if span <= 0 { 0 } else { (span - 1) / step + 1 })
}
