//! `Concat` joins along an axis, `Split` cuts along one.

use super::rules::{
    axis_in, expect_index, fact, onnx, required, same_dtype, tensor, unify, with_value,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::{Dim, Fact, MAX_VALUE_ELEMENTS, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Concat",
        parse_concat,
        &[
            "input x: f32[n, 3]\n input y: f32[n, m]\n z = Concat(x, y) {axis = -1}\n output z: f32[n, (m + 3)]",
            "input x: f32[2, ?]\n input y: f32[?, 4]\n z = Concat(x, y) {axis = 0}\n output z: f32[?, 4]",
            "opset 3\n input x: f32[1, 2]\n input y: f32[1, 2]\n z = Concat(x, y)\n output z: f32[1, 4]",
            "input x: str[0]\n input y: str[2]\n z = Concat(x, y) {axis = 0}\n output z: str[2]",
        ],
    ),
    onnx(
        "Split",
        parse_split,
        &[
            "input x: f32[7, n]\n y, z, w = Split(x) {num_outputs = 3}\n output y: f32[3, n]\n output z: f32[3, n]\n output w: f32[1, n]",
            "input x: f32[n, 5]\n const s: i64[2] = [4, 1]\n y, z = Split(x, s) {axis = 1}\n output y: f32[n, 4]\n output z: f32[n, 1]",
            "opset 11\n input x: f32[6]\n y, z = Split(x)\n output y: f32[3]\n output z: f32[3]",
            "opset 2\n input x: f32[6]\n y, z = Split(x) {split = [2, 4]}\n output y: f32[2]\n output z: f32[4]",
            "input x: f32[n, 2]\n v = Shape(x)\n const s: i64[2] = [1, 1]\n a, b = Split(v, s)\n y = ConstantOfShape(b)\n output y: f32[2]",
        ],
    ),
];

struct Concat {
    axis: i64,
}

fn parse_concat(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let default = (version < 4).then_some(1);
    let axis = required(attrs.int("axis").or(default), "axis")?;
    Ok(Box::new(Concat { axis }))
}

impl Op for Concat {
    /// Sizes beside the axis must agree; along it they add up.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let idxs = 0..inputs.facts.len();
        tensor(inputs, 0)?;
        let dtype = same_dtype(inputs, idxs.clone())?;
        let mut joined: Option<Shape> = None;
        let mut length = Dim::Size(0);
        let mut value = Some(Vec::new());
        for idx in idxs {
            let x = tensor(inputs, idx)?;
            let elements = x.value.clone().or_else(|| {
                let len = x.shape.as_ref().filter(|shape| shape.rank() == 1)?[0].size()?;
                (len <= MAX_VALUE_ELEMENTS).then(|| vec![Dim::Unknown; len])
            });
            value = value
                .zip(elements)
                .map(|(value, elements)| [value, elements].concat());
            let Some(shape) = &x.shape else {
                length = Dim::Unknown;
                continue;
            };
            let axis = axis_in(shape.rank(), self.axis)?;
            length = &length + &shape[axis];
            let Some(Shape(dims)) = &mut joined else {
                joined = Some(shape.clone());
                continue;
            };
            let differ = || {
                let before = Shape(dims.clone());
                let why =
                    format!("input {idx} is {shape}, those before are {before}, on axis {axis}");
                Error::shape("", why)
            };
            if dims.len() != shape.rank() {
                return Err(differ());
            }
            let pairs = dims.iter().zip(shape.iter()).enumerate();
            let merged: Option<Vec<Dim>> = pairs
                .map(|(idx, (a, b))| {
                    if idx == axis {
                        Some(a.clone())
                    } else {
                        unify(a, b)
                    }
                })
                .collect();
            *dims = merged.ok_or_else(differ)?;
        }
        if let Some(Shape(dims)) = &mut joined {
            let axis = axis_in(dims.len(), self.axis)?;
            dims[axis] = length;
        }
        Ok(vec![with_value(fact(dtype, joined), value)])
    }
}

struct Split {
    axis: i64,
    /// Sizes in an attribute, before version 13.
    split: Option<Vec<i64>>,
    /// Where they are an input.
    split_input: bool,
    num_outputs: Option<i64>,
    /// Equal parts must be equal; later the last one may be smaller.
    exact: bool,
}

fn parse_split(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Split {
        axis: attrs.int("axis").unwrap_or(0),
        split: attrs
            .ints("split")
            .filter(|_| version < 13)
            .map(<[i64]>::to_vec),
        split_input: !(2..13).contains(&version),
        num_outputs: attrs.int("num_outputs").filter(|_| version >= 18),
        exact: version < 18,
    }))
}

impl Op for Split {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        let n_outputs = inputs.n_outputs;
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(x.dtype, None); n_outputs]);
        };
        let axis = axis_in(shape.rank(), self.axis)?;
        let total = &shape[axis];
        let given = self.split_input && inputs.get(1).is_some();
        let sizes = match &self.split {
            Some(split) => split.iter().copied().map(Dim::Size).collect(),
            None if given => {
                expect_index(inputs, 1)?;
                inputs
                    .dims(1)
                    .unwrap_or_else(|| vec![Dim::Unknown; n_outputs])
            }
            None => self.equal_parts(total, n_outputs)?,
        };
        let sum = sizes.iter().fold(Dim::Size(0), |sum, size| &sum + size);
        let negative = sizes
            .iter()
            .any(|size| matches!(size, Dim::Size(n) if *n < 0));
        if sizes.len() < n_outputs || negative || unify(&sum, total).is_none() {
            let sizes = Shape(sizes);
            let why =
                format!("parts {sizes} do not fill a size of {total} for {n_outputs} outputs");
            return Err(Error::shape("", why));
        }
        let mut start = Some(0_usize);
        let part = |size: Dim| {
            let end = start
                .zip(size.size())
                .and_then(|(start, size)| start.checked_add(size));
            let value = start
                .zip(end)
                .and_then(|(start, end)| x.value.as_ref()?.get(start..end));
            let value = value.map(<[Dim]>::to_vec);
            start = end;
            let mut dims = shape.0.clone();
            dims[axis] = size;
            with_value(fact(x.dtype, Some(Shape(dims))), value)
        };
        Ok(sizes.into_iter().take(n_outputs).map(part).collect())
    }
}

impl Split {
    fn equal_parts(&self, total: &Dim, n_outputs: usize) -> Result<Vec<Dim>> {
        let asked = match self.num_outputs {
            Some(asked) => usize::try_from(asked).ok(),
            None => Some(n_outputs),
        };
        // A node may leave out outputs at the end.
        let n_parts = asked.filter(|&asked| asked >= n_outputs.max(1) && asked <= 1 << 16);
        let Some(n_parts) = n_parts else {
            let asked = self.num_outputs.unwrap_or(0);
            let why = format!("num_outputs is {asked}, the node has {n_outputs} outputs");
            return Err(Error::shape("", why));
        };
        let parts = Dim::from(n_parts);
        let size = if self.exact {
            total.floor_div(&parts)
        } else {
            total.ceil_div(&parts)
        };
        let mut sizes = vec![size.clone(); n_parts];
        match (total, &size) {
            (Dim::Size(total), Dim::Size(size)) if !self.exact => {
                let mut left = *total;
                for part in &mut sizes {
                    let taken = left.min(*size);
                    *part = Dim::Size(taken);
                    left -= taken;
                }
            }
            // One part is the whole; of more, the last is what the others leave.
            _ if !self.exact => {
                let others = &size * &(&parts - 1);
                sizes[n_parts - 1] = (total - &others).max(&Dim::Size(0));
            }
            _ => {}
        }
        if n_parts == 1 {
            sizes[0] = total.clone();
        }
        Ok(sizes)
    }
}
