//! `Slice`: every step-th element between two bounds, axis by axis.

use super::rules::{
    axes_in, expect_index, expect_rank_limit, fact, onnx, required, tensor, with_value,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal, View, view_of_input};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[onnx(
    "Slice",
    parse,
    &[
        "input x: f32[n, 10]\n const s: i64[1] = [2]\n const e: i64[1] = [-1]\n const a: i64[1] = [1]\n const st: i64[1] = [3]\n y = Slice(x, s, e, a, st)\n output y: f32[n, 3]",
        "input x: f32[n, 10]\n const s: i64[2] = [1, -1]\n const e: i64[2] = [9223372036854775807, -9223372036854775808]\n const a: i64[2] = [0, 1]\n const st: i64[2] = [1, -1]\n y = Slice(x, s, e, a, st)\n output y: f32[max((n - 1), 0), 10]",
        "input x: f32[3, 5, 7]\n const s: i64[3] = [-1, 4, -1]\n const e: i64[3] = [-100, 0, -100]\n const a: i64[3] = [0, 1, 2]\n const st: i64[3] = [-1, -3, -1]\n y = Slice(x, s, e, a, st)\n output y: f32[3, 2, 7]",
        "input x: u8[4, 24]\n const s: i64[1] = [4]\n const e: i64[1] = [20]\n const a: i64[1] = [1]\n y = Slice(x, s, e, a)\n output y: u8[4, 16]",
        "input x: i8[4, 23]\n const s: i64[1] = [3]\n const e: i64[1] = [20]\n const a: i64[1] = [1]\n y = Slice(x, s, e, a)\n output y: i8[4, 17]",
        "input x: f16[4, 24]\n const s: i64[1] = [8]\n const e: i64[1] = [20]\n const a: i64[1] = [1]\n y = Slice(x, s, e, a)\n output y: f16[4, 12]",
        "input x: f32[1, 3, 8, 8]\n const s: i64[2] = [1, 0]\n const e: i64[2] = [8, 8]\n const a: i64[2] = [2, 3]\n const st: i64[2] = [2, 2]\n y = Slice(x, s, e, a, st)\n output y: f32[1, 3, 4, 4]",
        "input x: i32[6]\n const s: i64[1] = [4]\n const e: i64[1] = [5]\n const a: i64[1] = [0]\n const st: i64[1] = [9223372036854775807]\n y = Slice(x, s, e, a, st)\n output y: i32[1]",
        "input x: i8[9, 3, 3, 2, 11]\n const s: i64[3] = [8, 0, 1]\n const e: i64[3] = [-9223372036854775808, 3, 9]\n const a: i64[3] = [0, 2, 4]\n const st: i64[3] = [-2, 2, 3]\n y = Slice(x, s, e, a, st)\n output y: i8[5, 3, 2, 2, 3]",
        "opset 9\n input x: f32[5, 6]\n y = Slice(x) {starts = [0, 1], ends = [3, 100]}\n output y: f32[3, 5]",
        "input x: f32[3, n]\n const s: i64[1] = [0]\n input e: i64[1]\n const a: i64[1] = [0]\n y = Slice(x, s, e, a)\n output y: f32[?, n]",
        "input x: f32[n, 3, 7]\n v = Shape(x)\n const s: i64[1] = [-1]\n const e: i64[1] = [-4]\n const a: i64[1] = [0]\n const st: i64[1] = [-2]\n t = Slice(v, s, e, a, st)\n y = ConstantOfShape(t)\n output y: f32[7, n]",
        "input x: f32[n, 3]\n input w: f32[m]\n v = Shape(w)\n const s: i64[1] = [0]\n y = Slice(x, s, v, s)\n output y: f32[min(n, m), 3]",
    ],
)];

/// Bounds are attributes before version 10, then inputs.
struct Slice {
    attrs: Option<Bounds>,
}

#[derive(Clone)]
struct Bounds {
    starts: Vec<Dim>,
    ends: Vec<Dim>,
    /// All axes in order where they are not given.
    axes: Option<Vec<i64>>,
    /// 1 everywhere where they are not given.
    steps: Option<Vec<Dim>>,
}

fn parse(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    if version >= 10 {
        return Ok(Box::new(Slice { attrs: None }));
    }
    let dims = |name: &str| {
        let list = required(attrs.ints(name), name)?;
        Ok(list.iter().copied().map(Dim::Size).collect::<Vec<Dim>>())
    };
    let bounds = Bounds {
        starts: dims("starts")?,
        ends: dims("ends")?,
        axes: attrs.ints("axes").map(<[i64]>::to_vec),
        steps: None,
    };
    Ok(Box::new(Slice {
        attrs: Some(bounds),
    }))
}

impl Op for Slice {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        let bounds = match &self.attrs {
            Some(bounds) => Some(bounds.clone()),
            None => bounds_of(inputs)?,
        };
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        let Some(bounds) = bounds else {
            return Ok(vec![fact(x.dtype, Some(Shape::unknown(shape.rank())))]);
        };
        let Bounds {
            starts,
            ends,
            axes,
            steps,
        } = bounds;
        let n_axes = axes.as_ref().map_or(starts.len(), Vec::len);
        let n_steps = steps.as_ref().map_or(n_axes, Vec::len);
        if [starts.len(), ends.len(), n_steps] != [n_axes; 3] || n_axes > shape.rank() {
            let why = format!(
                "{} starts, {} ends, {n_steps} steps for {n_axes} axes of {shape}",
                starts.len(),
                ends.len()
            );
            return Err(Error::shape("", why));
        }
        let axes = match axes {
            Some(axes) => axes_in(shape.rank(), &axes)?,
            None => (0..expect_rank_limit(n_axes)?).collect(),
        };
        let steps = steps.unwrap_or_else(|| vec![Dim::Size(1); n_axes]);
        let mut dims = shape.0.clone();
        let mut value = x.value.clone();
        for (idx, &axis) in axes.iter().enumerate() {
            let (start, end, step) = (&starts[idx], &ends[idx], &steps[idx]);
            if *step == Dim::Size(0) {
                return Err(Error::shape("", format!("the step of axis {axis} is 0")));
            }
            value = value.and_then(|value| pick(&value, start, end, step));
            dims[axis] = length(&shape[axis], start, end, step);
        }
        Ok(vec![with_value(fact(x.dtype, Some(Shape(dims))), value)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let numbers = |dims: &[Dim]| dims.iter().map(Dim::value).collect::<Option<Vec<i64>>>();
        let optional = |idx: usize| call.has_input(idx).then(|| call.ints(idx)).transpose();
        let (starts, axes, steps) = match &self.attrs {
            Some(bounds) => (
                numbers(&bounds.starts).expect("attributes are numbers"),
                bounds.axes.clone(),
                None,
            ),
            None => (call.ints(1)?, optional(3)?, optional(4)?),
        };
        let (sizes, kept) = (call.sizes(0), call.output_sizes(0));
        let axes = match axes {
            Some(axes) => axes_in(sizes.len(), &axes).expect("infer has accepted the axes"),
            None => (0..starts.len()).collect(),
        };
        let mut x = View::dense(&sizes);
        for (idx, axis) in axes.into_iter().enumerate() {
            let step = steps.as_ref().map_or(1, |steps| steps[idx]);
            let first = first(sizes[axis], starts[idx], step);
            x = x.sliced(axis, first, step, kept[axis]);
        }
        view_of_input("slice", call, &x)
    }
}

/// Where a slice that is not empty begins.
fn first(size: usize, start: i64, step: i64) -> usize {
    let size = i64::try_from(size).expect("the plan refuses tensors of 2^31 elements");
    let (first, _, _) = range(size, start, start, step).expect("infer has refused steps of 0");
    usize::try_from(first).unwrap_or(0)
}

/// The bounds from inputs 1 to 4; `None` when the axes are not known. What else is not known
/// gives unknown elements.
fn bounds_of(inputs: &Inputs) -> Result<Option<Bounds>> {
    for idx in 1..5 {
        expect_index(inputs, idx)?;
    }
    tensor(inputs, 1)?;
    tensor(inputs, 2)?;
    let axes = inputs.ints(3);
    if axes.is_none() && inputs.get(3).is_some() {
        return Ok(None);
    }
    let len = |idx: usize| inputs.shape(idx).and_then(|shape| shape.elements().size());
    let Some(n_axes) = axes.as_ref().map(Vec::len).or(len(1)).or(len(2)).or(len(4)) else {
        return Ok(None);
    };
    expect_rank_limit(n_axes)?;
    let elements = |idx: usize| {
        inputs
            .dims(idx)
            .unwrap_or_else(|| vec![Dim::Unknown; n_axes])
    };
    Ok(Some(Bounds {
        starts: elements(1),
        ends: elements(2),
        axes,
        steps: inputs.get(4).map(|_| elements(4)),
    }))
}

/// First index, step and count of the slice of a known size.
fn range(size: i64, start: i64, end: i64, step: i64) -> Option<(i128, i128, i128)> {
    let (size, step) = (i128::from(size.max(0)), i128::from(step));
    let from_end = |bound: i64| {
        let bound = i128::from(bound);
        if bound < 0 { bound + size } else { bound }
    };
    let (start, end) = (from_end(start), from_end(end));
    let (start, reach) = if step > 0 {
        let start = start.clamp(0, size);
        (start, end.clamp(0, size) - start)
    } else {
        let start = start.clamp(-1, size - 1);
        (start, start - end.clamp(-1, size - 1))
    };
    (step != 0).then(|| (start, step, (reach.max(0) + step.abs() - 1) / step.abs()))
}

/// How many elements the slice of one axis has.
fn length(size: &Dim, start: &Dim, end: &Dim, step: &Dim) -> Dim {
    let Dim::Size(step) = *step else {
        return Dim::Unknown;
    };
    if let (Dim::Size(size), Dim::Size(start), Dim::Size(end)) = (size, start, end) {
        let count = range(*size, *start, *end, step).map(|(_, _, count)| count);
        return count
            .and_then(|count| i64::try_from(count).ok())
            .map_or(Dim::Unknown, Dim::Size);
    }
    let count = if step > 0 {
        let (first, last) = (bound(size, start), bound(size, end));
        match (start, end) {
            (_, _) if first == Dim::Size(0) => last,
            // Both count from one end, where the bounds only matter if the axis is that long.
            (Dim::Size(start), Dim::Size(end)) if (*start < 0) == (*end < 0) && end <= start => {
                Dim::Size(0)
            }
            // The last few: as many as there are.
            (Dim::Size(start), _) if *start < 0 && last == *size => start
                .checked_neg()
                .map_or(Dim::Unknown, |few| size.min(&Dim::Size(few))),
            (Dim::Size(start), _) if *start >= 0 && last == *size => {
                (size - *start).max(&Dim::Size(0))
            }
            _ => (&last - &first).max(&Dim::Size(0)),
        }
    } else {
        let (last, before_first) = (Dim::Size(-1), Dim::Size(-END));
        let reversed = (*start == last || is_end(start))
            && matches!((end, &before_first), (Dim::Size(end), Dim::Size(least)) if end <= least);
        if reversed { size.clone() } else { Dim::Unknown }
    };
    let stride = step.checked_abs().map_or(Dim::Unknown, Dim::Size);
    count.ceil_div(&stride)
}

/// Exporters write "to the end" as the largest number of 32 or 64 bits; no axis is that long.
const END: i64 = i32::MAX as i64;

fn is_end(bound: &Dim) -> bool {
    matches!(bound, Dim::Size(n) if *n >= END)
}

/// A bound of a forward slice, from the start of an axis of a size that is no number.
fn bound(size: &Dim, bound: &Dim) -> Dim {
    match bound {
        _ if is_end(bound) || bound == size => size.clone(),
        Dim::Size(n) if *n >= 0 => size.min(bound),
        Dim::Size(_) => (size + bound).max(&Dim::Size(0)),
        _ if bound.never_negative() => size.min(bound),
        _ => Dim::Unknown,
    }
}

/// The elements that a slice keeps.
fn pick(elements: &[Dim], start: &Dim, end: &Dim, step: &Dim) -> Option<Vec<Dim>> {
    let size = i64::try_from(elements.len()).ok()?;
    let (first, step, count) = range(size, start.value()?, end.value()?, step.value()?)?;
    let at = |nth: i128| {
        let idx = usize::try_from(nth.checked_mul(step)?.checked_add(first)?).ok()?;
        elements.get(idx).cloned()
    };
    (0..count).map(at).collect()
}
