//! The same elements under another shape: `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`.

use super::rules::{
    axes_in, axis_in, expect_index, expect_rank_limit, fact, onnx, required, target_dims, tensor,
    with_value,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Flatten",
        parse_flatten,
        &[
            "input x: f32[n, 3, 4]\n y = Flatten(x)\n output y: f32[n, 12]",
            "input x: f32[n, 3, 4]\n y = Flatten(x) {axis = 3}\n output y: f32[(n * 12), 1]",
            "input x: f32[2, 3, 4]\n y = Flatten(x) {axis = 0}\n output y: f32[1, 24]",
            "input x: f32\n y = Flatten(x)\n output y: f32[?, ?]",
        ],
    ),
    onnx(
        "Reshape",
        parse_reshape,
        &[
            "input x: f32[n, 3, 4]\n const s: i64[2] = [0, -1]\n y = Reshape(x, s)\n output y: f32[n, 12]",
            "input x: f32[n, 8, 6]\n const s: i64[4] = [-1, 8, 2, 3]\n y = Reshape(x, s)\n output y: f32[n, 8, 2, 3]",
            "input x: f32[0, 4]\n const s: i64[2] = [4, 0]\n y = Reshape(x, s) {allowzero = 1}\n output y: f32[4, 0]",
            "opset 1\n input x: f32[2, 6]\n y = Reshape(x) {shape = [3, -1]}\n output y: f32[3, 4]",
            "input x: f32[?, 3, 4]\n const s: i64[2] = [0, -1]\n y = Reshape(x, s)\n output y: f32[?, 12]",
            "input x: f32[n, 12]\n input s: i64[3]\n y = Reshape(x, s)\n output y: f32[?, ?, ?]",
            "input x: f32[n, 3, 4]\n v = Shape(x)\n const low: i64[1] = [0]\n b = Gather(v, low)\n const rest: i64[1] = [-1]\n s = Concat(b, rest) {axis = 0}\n y = Reshape(x, s)\n output y: f32[n, 12]",
        ],
    ),
    onnx(
        "Squeeze",
        parse_squeeze,
        &[
            "input x: f32[1, n, 1]\n const axes: i64[2] = [0, -1]\n y = Squeeze(x, axes)\n output y: f32[n]",
            "input x: f32[1, 3, 1]\n y = Squeeze(x)\n output y: f32[3]",
            "opset 11\n input x: f32[2, 1]\n y = Squeeze(x) {axes = [1]}\n output y: f32[2]",
            "input x: f32[n, 1]\n y = Squeeze(x)\n output y: f32",
        ],
    ),
    onnx(
        "Unsqueeze",
        parse_unsqueeze,
        &[
            "input x: f32[n, 3]\n const axes: i64[2] = [0, -1]\n y = Unsqueeze(x, axes)\n output y: f32[1, n, 3, 1]",
            "opset 11\n input x: f32[]\n y = Unsqueeze(x) {axes = [0]}\n output y: f32[1]",
            "input x: f32[n, 3]\n input axes: i64[2]\n y = Unsqueeze(x, axes)\n output y: f32[?, ?, ?, ?]",
        ],
    ),
];

/// The elements stay where they are.
fn view(call: &Call) -> Result<Dispatch, Refusal> {
    call.input(0)?;
    Ok(Dispatch::view(0))
}

struct Flatten {
    axis: i64,
}

fn parse_flatten(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis").unwrap_or(1);
    Ok(Box::new(Flatten { axis }))
}

impl Op for Flatten {
    /// x: [a.., b..] -> [a * .., b * ..], where the axis is the first of b.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(x.dtype, Some(Shape::unknown(2)))]);
        };
        let split = if usize::try_from(self.axis) == Ok(shape.rank()) {
            shape.rank()
        } else {
            axis_in(shape.rank(), self.axis)?
        };
        let (rows, cols) = shape.split_at(split);
        let product = |dims: &[Dim]| Shape(dims.to_vec()).elements();
        let y = fact(x.dtype, Some(Shape(vec![product(rows), product(cols)])));
        Ok(vec![with_value(y, None)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        view(call)
    }
}

struct Reshape {
    /// The target where it is an attribute, before version 5.
    shape: Option<Vec<i64>>,
    allow_zero: bool,
}

fn parse_reshape(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let shape = if version < 5 {
        Some(required(attrs.ints("shape"), "shape")?.to_vec())
    } else {
        None
    };
    let allow_zero = attrs.int("allowzero").unwrap_or(0) != 0;
    Ok(Box::new(Reshape { shape, allow_zero }))
}

impl Op for Reshape {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        let target = match &self.shape {
            Some(shape) => Some(shape.iter().copied().map(Dim::Size).collect()),
            None => {
                tensor(inputs, 1)?;
                target_dims(inputs, 1)?
            }
        };
        let Some(target) = target else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        let shape = reshape(x.shape.as_ref(), &target, self.allow_zero)?;
        Ok(vec![with_value(
            fact(x.dtype, Some(shape)),
            x.value.clone(),
        )])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        view(call)
    }
}

/// The shape that a target with 0 (keep) and -1 (the rest) means.
fn reshape(from: Option<&Shape>, target: &[Dim], allow_zero: bool) -> Result<Shape> {
    let refuse = |why: &str| {
        let from = from.map_or_else(|| "?".to_owned(), Shape::to_string);
        let target = Shape(target.to_vec());
        Error::shape("", format!("{from} to {target}: {why}"))
    };
    let mut dims = target.to_vec();
    let (mut kept, mut rest) = (Vec::new(), None);
    for (idx, dim) in dims.iter_mut().enumerate() {
        match dim {
            Dim::Size(0) if !allow_zero => {
                kept.push(idx);
                *dim = match from {
                    Some(from) if idx >= from.rank() => {
                        return Err(refuse("a 0 stands where the input has no axis"));
                    }
                    Some(from) => from[idx].clone(),
                    None => Dim::Unknown,
                };
            }
            Dim::Size(-1) if rest.is_some() => return Err(refuse("more than one size is -1")),
            Dim::Size(-1) => {
                rest = Some(idx);
                *dim = Dim::Unknown;
            }
            Dim::Size(n) if *n < 0 => return Err(refuse("a size is below -1")),
            _ => {}
        }
    }
    if rest.is_some() && dims.contains(&Dim::Size(0)) {
        return Err(refuse("beside a size of 0, -1 can be anything"));
    }
    let Some(from) = from else {
        return Ok(Shape(dims));
    };
    let mut open = (0..dims.len()).filter(|idx| dims[*idx] == Dim::Unknown && !kept.contains(idx));
    match (open.next(), open.next()) {
        // One size that is not known follows from the element count as a -1 does.
        (Some(open), None) => {
            let without = |dims: &[Dim], without: &[usize]| -> Vec<Dim> {
                let pairs = dims.iter().enumerate();
                pairs
                    .filter(|(idx, _)| !without.contains(idx))
                    .map(|(_, dim)| dim.clone())
                    .collect()
            };
            let known = [&kept[..], &[open]].concat();
            dims[open] = quotient(without(from, &kept), &without(&dims, &known))
                .ok_or_else(|| refuse("the element count is no multiple of the other sizes"))?;
        }
        (None, _) => {
            let counts = (from.elements(), Shape(dims.clone()).elements());
            if let (Dim::Size(old), Dim::Size(new)) = counts
                && old != new
            {
                return Err(refuse(&format!("{old} elements cannot be {new}")));
            }
        }
        _ => {}
    }
    Ok(Shape(dims))
}

/// A product divided by another: common factors go first, so that symbols cancel. `None` when the
/// division leaves a rest.
fn quotient(dividends: Vec<Dim>, divisors: &[Dim]) -> Option<Dim> {
    let mut left: Vec<Dim> = dividends.iter().flat_map(Dim::factors).collect();
    let mut right = Vec::new();
    for factor in divisors.iter().flat_map(Dim::factors) {
        // A 0 or an unknown size may stand for anything.
        let cancels = factor != Dim::Unknown && factor != Dim::Size(0);
        match left.iter().position(|other| cancels && *other == factor) {
            Some(idx) => drop(left.swap_remove(idx)),
            None => right.push(factor),
        }
    }
    let (left, right) = (Shape(left).elements(), Shape(right).elements());
    match (&left, &right) {
        (Dim::Size(left), Dim::Size(0)) if *left != 0 => None,
        (_, Dim::Size(0)) => Some(Dim::Unknown),
        (Dim::Size(left), Dim::Size(right)) if left.checked_rem(*right) != Some(0) => None,
        _ => Some(left.floor_div(&right)),
    }
}

/// The axes of `Squeeze` and `Unsqueeze`: an attribute before version 13, then an input.
enum Axes {
    Attr(Option<Vec<i64>>),
    Input,
}

impl Axes {
    fn parse(attrs: &Attrs, version: i64) -> Axes {
        if version < 13 {
            Axes::Attr(attrs.ints("axes").map(<[i64]>::to_vec))
        } else {
            Axes::Input
        }
    }

    /// Whether there are any, and which if that is known.
    fn get(&self, inputs: &Inputs) -> Result<(bool, Option<Vec<i64>>)> {
        match self {
            Axes::Attr(axes) => Ok((axes.is_some(), axes.clone())),
            Axes::Input if inputs.get(1).is_none() => Ok((false, None)),
            Axes::Input => {
                expect_index(inputs, 1)?;
                Ok((true, inputs.ints(1)))
            }
        }
    }
}

struct Squeeze {
    axes: Axes,
}

fn parse_squeeze(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let axes = Axes::parse(attrs, version);
    Ok(Box::new(Squeeze { axes }))
}

impl Op for Squeeze {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        let (given, axes) = self.axes.get(inputs)?;
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        let one = Dim::Size(1);
        let gone: Option<Vec<usize>> = match (given, axes) {
            // Without axes every size of 1 goes; a symbol may turn out to be 1.
            (false, _) if shape.iter().all(Dim::is_known) => Some(
                (0..shape.rank())
                    .filter(|&axis| shape[axis] == one)
                    .collect(),
            ),
            // Of an empty list, some implementations make all axes.
            (true, Some(axes)) if !axes.is_empty() => Some(axes_in(shape.rank(), &axes)?),
            _ => None,
        };
        let Some(gone) = gone else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        if let Some(axis) = gone
            .iter()
            .find(|&&axis| shape[axis].is_known() && shape[axis] != one)
        {
            let why = format!("axis {axis} of {shape} is not 1");
            return Err(Error::shape("", why));
        }
        let kept = (0..shape.rank()).filter(|axis| !gone.contains(axis));
        let dims = kept.map(|axis| shape[axis].clone()).collect();
        Ok(vec![with_value(fact(x.dtype, Some(dims)), x.value.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        view(call)
    }
}

struct Unsqueeze {
    axes: Axes,
}

fn parse_unsqueeze(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let axes = Axes::parse(attrs, version);
    if matches!(axes, Axes::Attr(None)) {
        required(None::<()>, "axes")?;
    }
    Ok(Box::new(Unsqueeze { axes }))
}

impl Op for Unsqueeze {
    /// Axes are those of the output.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        if matches!(self.axes, Axes::Input) {
            inputs.need(1)?;
        }
        let (_, axes) = self.axes.get(inputs)?;
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        let Some(axes) = axes else {
            let n_axes = inputs.shape(1).and_then(|axes| axes.elements().size());
            let rank = n_axes.and_then(|n_axes| n_axes.checked_add(shape.rank()));
            let rank = rank.map(expect_rank_limit).transpose()?;
            return Ok(vec![fact(x.dtype, rank.map(Shape::unknown))]);
        };
        let new = axes_in(shape.rank() + axes.len(), &axes)?;
        let mut old = shape.iter();
        let dims = (0..shape.rank() + axes.len()).map(|axis| {
            let one = Dim::Size(1);
            if new.contains(&axis) {
                one
            } else {
                old.next().cloned().unwrap_or(one)
            }
        });
        let dims = dims.collect();
        Ok(vec![with_value(fact(x.dtype, Some(dims)), x.value.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        view(call)
    }
}
