//! `Concat` joins along an axis, `Split` cuts along one.

use super::rules::{
    axis_in, expect_index, fact, onnx, required, same_dtype, tensor, unify, with_value,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Launch, Map, Port, Refusal, Unit, View, copy};
use crate::tensor::{Dim, Fact, MAX_VALUE_ELEMENTS, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Concat",
        parse_concat,
        &[
            "input x: f32[n, 3]\n input y: f32[n, m]\n z = Concat(x, y) {axis = -1}\n output z: f32[n, (m + 3)]",
            "input x: f32[2, ?]\n input y: f32[?, 4]\n z = Concat(x, y) {axis = 0}\n output z: f32[?, 4]",
            "input x: f32[3, 4]\n input y: f32[3, 8]\n input z: f32[3, 4]\n w = Concat(x, y, z) {axis = 1}\n output w: f32[3, 16]",
            "input x: u8[3, 4]\n input y: u8[3, 8]\n z = Concat(x, y) {axis = 1}\n output z: u8[3, 12]",
            "input x: bool[3, 5]\n input y: bool[3, 2]\n z = Concat(x, y) {axis = 1}\n output z: bool[3, 7]",
            "input x: f16[1, 3, 2]\n input y: f16[1, 2, 2]\n z = Concat(x, x, y) {axis = 1}\n output z: f16[1, 8, 2]",
            "input x: i64[2, 3]\n input y: i64[2, 0]\n z = Concat(x, y) {axis = 1}\n output z: i64[2, 3]",
            "input x: f32[3, 5]\n input y: f32[3, 4]\n z = Concat(x, y, x, y, x, y, x, y, x) {axis = 1}\n output z: f32[3, 41]",
            "input x: i8[3, 4]\n input y: i8[3, 8]\n z = Concat(x, y, x, y, x, y, x, y) {axis = 1}\n output z: i8[3, 48]",
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
            "input x: u8[3, 9]\n const s: i64[3] = [4, 0, 5]\n y, z, w = Split(x, s) {axis = -1}\n output y: u8[3, 4]\n output z: u8[3, 0]\n output w: u8[3, 5]",
            "input x: f16[2, 24, 3]\n y, z = Split(x) {axis = 1, num_outputs = 2}\n output y: f16[2, 12, 3]\n output z: f16[2, 12, 3]",
            "input x: f32[6]\n y = Split(x) {num_outputs = 1}\n output y: f32[6]",
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

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let y_sizes = call.output_sizes(0);
        let axis = axis_in(y_sizes.len(), self.axis).expect("infer has accepted the axis");
        let rows = y_sizes[..axis].iter().product();
        let y = call.output(0)?;
        let mut parts = Vec::new();
        for idx in 0..call.inputs.len() {
            let cols: usize = call.sizes(idx)[axis..].iter().product();
            if rows * cols > 0 {
                parts.push((call.input(idx)?, cols));
            }
        }
        if parts.is_empty() {
            return Ok(Dispatch::default());
        }
        let runs: Vec<usize> = parts.iter().map(|(_, cols)| *cols).collect();
        let unit = Unit::of(y.storage, &runs);
        // All parts and y in one launch, where the device binds that many.
        if parts.len() < call.caps.max_storage_buffers as usize {
            return Ok(Dispatch::one(join(call, &parts, (y, rows), unit)));
        }
        if unit.is_packed() {
            return Err("many parts that do not fill words".into());
        }
        let joined = View::dense(&[rows, runs.iter().sum()]);
        let mut dispatch = Dispatch::default();
        let mut start = 0;
        for (x, cols) in parts {
            let to = joined.clone().sliced(1, start, 1, cols);
            let launch = copy(
                "concat",
                (x, &View::dense(&[rows, cols])),
                (y, &to),
                call.caps,
            )?;
            dispatch.launches.push(launch);
            start += cols;
        }
        Ok(dispatch)
    }
}

/// One launch in which every unit of y finds the part that it comes from.
///
/// parts: [rows, cols] each -> y: [rows, sum of cols]
fn join(call: &Call, parts: &[(Port, usize)], (y, rows): (Port, usize), unit: Unit) -> Launch {
    let total: usize = parts.iter().map(|(_, cols)| cols).sum();
    let mut text = "fn element(i: u32) -> unit {
  let row = i / params.cols;
  var col = i - row * params.cols;
"
    .to_owned();
    for idx in 0..parts.len() {
        let load = format!("return load_x{idx}(row * params.cols{idx} + col);");
        text.push_str(&if idx + 1 < parts.len() {
            format!("  if col < params.cols{idx} {{ {load} }}\n  col -= params.cols{idx};\n")
        } else {
            format!("  {load}\n}}\n")
        });
    }
    let mut kernel = Map::kernel("concat", &text).param("cols", total / unit.n_elems);
    for (idx, (x, cols)) in parts.iter().enumerate() {
        kernel = kernel.param(&format!("cols{idx}"), cols / unit.n_elems);
        kernel = unit.read(kernel, &format!("x{idx}"), *x);
    }
    unit.map(kernel, y, rows * total, call.caps)
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

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let sizes = call.sizes(0);
        let axis = axis_in(sizes.len(), self.axis).expect("infer has accepted the axis");
        let mut dispatch = Dispatch::default();
        let mut start = 0;
        for idx in 0..call.outputs.len() {
            if !call.has_output(idx) {
                return Err("an output before others is not asked for".into());
            }
            let part = call.output_sizes(idx);
            let from = View::dense(&sizes).sliced(axis, start, 1, part[axis]);
            let (x, y) = (call.input(0)?, call.output(idx)?);
            let launch = copy("split", (x, &from), (y, &View::dense(&part)), call.caps)?;
            dispatch.launches.push(launch);
            start += part[axis];
        }
        Ok(dispatch)
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
