//! Larger or smaller along axes: `Expand`, `Tile`, `Pad`.

use super::rules::{
    axes_in, axis_in, broadcast, expect_index, expect_rank_limit, fact, onnx, required, same_dtype,
    scalar, target_dims, tensor, vector_len, with_value,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Map, Refusal, Unit, View, view_of_input};
use crate::tensor::{Dim, Fact, MAX_VALUE_ELEMENTS, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Expand",
        |_, _| Ok(Box::new(Expand)),
        &[
            "input x: f32[3, 1]\n const s: i64[3] = [2, 1, 6]\n y = Expand(x, s)\n output y: f32[2, 3, 6]",
            "input x: f32[3, 1]\n const s: i64[2] = [3, 8]\n y = Expand(x, s)\n output y: f32[3, 8]",
            "input x: bool[5]\n const s: i64[3] = [3, 1, 5]\n y = Expand(x, s)\n output y: bool[3, 1, 5]",
            "input x: i8[1, 8]\n const s: i64[2] = [3, 8]\n y = Expand(x, s)\n output y: i8[3, 8]",
            "input x: f16[1, 4]\n const s: i64[2] = [9, 4]\n y = Expand(x, s)\n output y: f16[9, 4]",
            "input x: f32[1, 4]\n input v: f32[n, 7]\n s = Shape(v) {end = 1}\n const one: i64[1] = [1]\n t = Concat(s, one) {axis = 0}\n y = Expand(x, t)\n output y: f32[n, 4]",
            "input x: f32[3]\n input s: i64[2]\n y = Expand(x, s)\n output y: f32[?, 3]",
            "const x: i64[] = [7]\n const s: i64[1] = [2]\n e = Expand(x, s)\n y = ConstantOfShape(e)\n output y: f32[7, 7]",
        ],
    ),
    onnx(
        "Pad",
        parse_pad,
        &[
            "input x: f32[n, 3]\n const pads: i64[4] = [0, 1, 2, -1]\n y = Pad(x, pads)\n output y: f32[(n + 2), 3]",
            "input x: f32[n, 3, 4]\n const pads: i64[2] = [1, 1]\n const axes: i64[1] = [-1]\n y = Pad(x, pads, _, axes)\n output y: f32[n, 3, 6]",
            "input x: f32[2, 3, 4, 8]\n const pads: i64[8] = [0, 0, 1, 4, 0, 0, 2, 4]\n input v: f32\n y = Pad(x, pads, v)\n output y: f32[2, 3, 7, 16]",
            "input x: f32[1, 2, 5, 5]\n const pads: i64[8] = [0, 0, 1, 1, 0, 0, 1, 1]\n y = Pad(x, pads)\n output y: f32[1, 2, 7, 7]",
            "input x: u8[3, 4, 4]\n const pads: i64[6] = [1, 0, 0, 2, 0, 0]\n y = Pad(x, pads)\n output y: u8[6, 4, 4]",
            "input x: i8[3, 4]\n const pads: i64[4] = [0, 3, -1, 2]\n const v: i8[] = [5]\n y = Pad(x, pads, v)\n output y: i8[2, 9]",
            "input x: f16[3, 4, 4]\n const pads: i64[6] = [0, 2, 0, 0, 1, 0]\n y = Pad(x, pads) {mode = \"edge\"}\n output y: f16[3, 7, 4]",
            "input x: f32[4, 5]\n const pads: i64[4] = [3, 2, 1, 4]\n y = Pad(x, pads) {mode = \"reflect\"}\n output y: f32[8, 11]",
            "input x: f32[4, 5]\n const pads: i64[4] = [3, 2, 1, 4]\n y = Pad(x, pads) {mode = \"edge\"}\n output y: f32[8, 11]",
            "input x: i32[4, 5]\n const pads: i64[4] = [3, 2, 1, 4]\n y = Pad(x, pads) {mode = \"wrap\"}\n output y: i32[8, 11]",
            "opset 2\n input x: f32[2]\n y = Pad(x) {pads = [3, 4]}\n output y: f32[9]",
            "opset 1\n input x: f32[2]\n y = Pad(x) {paddings = [0, 1], mode = \"edge\"}\n output y: f32[3]",
            "input x: f32[2, 3]\n input pads: i64[4]\n y = Pad(x, pads)\n output y: f32[?, ?]",
        ],
    ),
    onnx(
        "Tile",
        parse_tile,
        &[
            "input x: f32[n, 3]\n const r: i64[2] = [2, 4]\n y = Tile(x, r)\n output y: f32[(n * 2), 12]",
            "input x: u8[2, 3]\n const r: i64[2] = [3, 3]\n y = Tile(x, r)\n output y: u8[6, 9]",
            "input x: f16[2, 8]\n const r: i64[2] = [3, 2]\n y = Tile(x, r)\n output y: f16[6, 16]",
            "input x: f32[2, 8]\n const r: i64[2] = [1, 0]\n y = Tile(x, r)\n output y: f32[2, 0]",
            "input x: f32[n, 3]\n input r: i64[2]\n y = Tile(x, r)\n output y: f32[?, ?]",
            "opset 5\n input x: f32[n, 3]\n const t: i64[] = [2]\n const a: i64[] = [1]\n y = Tile(x, t, a)\n output y: f32[n, 6]",
        ],
    ),
];

struct Expand;

impl Op for Expand {
    /// x and the target broadcast, so a target of 1 keeps the size of x.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        tensor(inputs, 1)?;
        let target = target_dims(inputs, 1)?;
        let (Some(shape), Some(target)) = (&x.shape, target) else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        expect_sizes(&target)?;
        let expanded = broadcast(shape, &Shape(target))?;
        let value = x.value.as_ref().and_then(|elements| {
            let n_elements = expanded.elements().size()?;
            match &elements[..] {
                [one] if n_elements <= MAX_VALUE_ELEMENTS => Some(vec![one.clone(); n_elements]),
                elements => (elements.len() == n_elements).then(|| elements.to_vec()),
            }
        });
        Ok(vec![with_value(fact(x.dtype, Some(expanded)), value)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let x = View::dense(&call.sizes(0)).expanded(&call.output_sizes(0));
        view_of_input("expand", call, &x)
    }
}

/// Refuses negative numbers among sizes.
fn expect_sizes(dims: &[Dim]) -> Result<()> {
    match dims
        .iter()
        .find(|dim| matches!(dim, Dim::Size(n) if *n < 0))
    {
        Some(dim) => Err(Error::shape("", format!("{dim} is no size"))),
        None => Ok(()),
    }
}

/// Repeats along every axis; before version 6 along one.
struct Tile {
    one_axis: bool,
}

fn parse_tile(_: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let one_axis = version < 6;
    Ok(Box::new(Tile { one_axis }))
}

impl Op for Tile {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        tensor(inputs, 1)?;
        let Some(shape) = &x.shape else {
            let rank = if self.one_axis {
                None
            } else {
                vector_len(inputs, 1)?
            };
            let rank = rank.map(expect_rank_limit).transpose()?;
            return Ok(vec![fact(x.dtype, rank.map(Shape::unknown))]);
        };
        let mut dims = shape.0.clone();
        if self.one_axis {
            let times = scalar(inputs, 1)?.unwrap_or(Dim::Unknown);
            expect_sizes(std::slice::from_ref(&times))?;
            match scalar(inputs, 2)?.as_ref().and_then(Dim::value) {
                Some(axis) => {
                    let axis = axis_in(dims.len(), axis)?;
                    dims[axis] = &dims[axis] * &times;
                }
                None => dims.fill(Dim::Unknown),
            }
            return Ok(vec![fact(x.dtype, Some(Shape(dims)))]);
        }
        match target_dims(inputs, 1)? {
            None => dims.fill(Dim::Unknown),
            Some(repeats) if repeats.len() != dims.len() => {
                let why = format!("{} repeats for {shape}", repeats.len());
                return Err(Error::shape("", why));
            }
            Some(repeats) => {
                expect_sizes(&repeats)?;
                dims = dims
                    .iter()
                    .zip(&repeats)
                    .map(|(dim, times)| dim * times)
                    .collect();
            }
        }
        let y = fact(x.dtype, Some(Shape(dims)));
        let value = x.value.as_ref().and_then(|elements| match &elements[..] {
            [one] => {
                let n_elements = y.shape.as_ref()?.elements().size()?;
                (n_elements <= MAX_VALUE_ELEMENTS).then(|| vec![one.clone(); n_elements])
            }
            _ => None,
        });
        Ok(vec![with_value(y, value)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (sizes, repeated) = (call.sizes(0), call.output_sizes(0));
        let mut x = View::dense(&sizes);
        for axis in (0..sizes.len()).rev() {
            let times = repeated[axis].checked_div(sizes[axis]).unwrap_or(0);
            x = x.repeated(axis, times);
        }
        view_of_input("tile", call, &x)
    }
}

/// Pads are `[begin of axis 0, begin of axis 1, .., end of axis 0, ..]`; negative ones crop.
struct Pad {
    /// The pads where they are an attribute, before version 11.
    pads: Option<Vec<i64>>,
    mode: Mode,
}

/// What stands where the input has nothing.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

fn parse_pad(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let name = if version < 2 { "paddings" } else { "pads" };
    let pads = if version < 11 {
        Some(required(attrs.ints(name), name)?.to_vec())
    } else {
        None
    };
    let mode = match attrs.str("mode") {
        None | Some("constant") => Mode::Constant,
        Some("edge") => Mode::Edge,
        Some("reflect") => Mode::Reflect,
        Some("wrap") => Mode::Wrap,
        Some(other) => return Err(Error::parse("", format!("attribute mode is {other:?}"))),
    };
    Ok(Box::new(Pad { pads, mode }))
}

impl Op for Pad {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        if self.pads.is_none() {
            inputs.need(1)?;
            same_dtype(inputs, [0, 2])?;
        }
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        let rank = expect_rank_limit(shape.rank())?;
        let axes = match inputs.get(3) {
            _ if self.pads.is_some() => Some((0..rank).collect()),
            None => Some((0..rank).collect()),
            Some(_) => {
                expect_index(inputs, 3)?;
                inputs
                    .ints(3)
                    .map(|axes| axes_in(rank, &axes))
                    .transpose()?
            }
        };
        let Some(axes) = axes else {
            return Ok(vec![fact(x.dtype, Some(Shape::unknown(rank)))]);
        };
        let pads = match &self.pads {
            Some(pads) => Some(pads.iter().copied().map(Dim::Size).collect()),
            None => inputs.dims(1),
        };
        let n_pads = pads.as_ref().map(Vec::len);
        let n_pads = n_pads.or(inputs.shape(1).and_then(|shape| shape.elements().size()));
        if let Some(n_pads) = n_pads
            && n_pads != 2 * axes.len()
        {
            let why = format!("{n_pads} pads for {} axes of {shape}", axes.len());
            return Err(Error::shape("", why));
        }
        let mut dims = shape.0.clone();
        for (idx, &axis) in axes.iter().enumerate() {
            dims[axis] = match &pads {
                Some(pads) => &(&dims[axis] + &pads[idx]) + &pads[idx + axes.len()],
                None => Dim::Unknown,
            };
            if matches!(dims[axis], Dim::Size(n) if n < 0) {
                let why = format!("the pads leave a size of {} on axis {axis}", dims[axis]);
                return Err(Error::shape("", why));
            }
        }
        Ok(vec![fact(x.dtype, Some(Shape(dims)))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (sizes, padded) = (call.sizes(0), call.output_sizes(0));
        let pads = match &self.pads {
            Some(pads) => pads.clone(),
            None => call.ints(1)?,
        };
        let n_pads = pads.len() / 2;
        let axes = if self.pads.is_none() && call.has_input(3) {
            axes_in(sizes.len(), &call.ints(3)?).expect("infer has accepted the axes")
        } else {
            (0..n_pads).collect()
        };
        let mut before = vec![0; sizes.len()];
        for (&axis, &pad) in axes.iter().zip(&pads) {
            before[axis] = pad;
        }
        let (x, y) = (call.input(0)?, call.output(0)?);
        if pads.iter().all(|&pad| pad == 0) {
            return Ok(Dispatch::view(0));
        }
        if self.mode != Mode::Constant && pads.iter().any(|&pad| pad < 0) {
            return Err("no kernel crops and repeats at once".into());
        }
        let axes = pad_axes(&sizes, &padded, &before, self.mode);
        let last = axes.last().expect("a pad that is not 0 has an axis");
        let has_value = self.mode == Mode::Constant && call.has_input(2);
        let in_units = self.mode == Mode::Constant || last.is_whole();
        let unit = if in_units && !(has_value && x.storage.is_packed()) {
            let before = usize::try_from(last.before.unsigned_abs()).unwrap_or(1);
            Unit::of(x.storage, &[last.size, last.padded, before])
        } else {
            Unit::of(x.storage, &[1])
        };
        let mut kernel = Map::kernel("pad", include_str!("pad.wgsl"));
        let n_axes = axes.len();
        for (idx, axis) in axes.iter().enumerate() {
            let n_elems = if idx + 1 == n_axes { unit.n_elems } else { 1 };
            let before = axis.before / i64::try_from(n_elems).expect("units are small");
            let before = i32::try_from(before);
            let before = before.map_err(|_| "a pad of more than 2^31 elements")?;
            kernel = kernel
                .param(&format!("size{idx}"), axis.size / n_elems)
                .param(&format!("padded{idx}"), axis.padded / n_elems)
                .param_i32(&format!("before{idx}"), before);
        }
        let kernel = unit
            .read(kernel, "x", x)
            .snippet(&pad_text(self.mode, axes.len()));
        let kernel = if has_value {
            kernel
                .read("value", call.input(2)?)
                .snippet("fn fill() -> unit { return unit(load_value(0u)); }")
        } else {
            kernel.snippet("fn fill() -> unit { return unit(); }")
        };
        let n_elems: usize = padded.iter().product();
        Ok(Dispatch::one(if unit.n_elems == 1 {
            let kernel = kernel
                .param("last", n_elems.saturating_sub(1))
                .snippet("alias unit = y_value;")
                .snippet(include_str!("pad_fours.wgsl"));
            Map::fours(kernel, y, n_elems, call.caps)
        } else {
            let kernel = kernel.snippet("fn element(i: u32) -> unit { return at_place(i); }");
            unit.map(kernel, y, n_elems, call.caps)
        }))
    }
}

/// One axis of a pad.
struct PadAxis {
    size: usize,
    padded: usize,
    before: i64,
}

impl PadAxis {
    fn is_whole(&self) -> bool {
        self.size == self.padded && self.before == 0
    }
}

/// The axes with those that are not padded merged into those before them.
fn pad_axes(sizes: &[usize], padded: &[usize], before: &[i64], mode: Mode) -> Vec<PadAxis> {
    let mut axes: Vec<PadAxis> = Vec::new();
    for (axis, &size) in sizes.iter().enumerate() {
        let next = PadAxis {
            size,
            padded: padded[axis],
            before: before[axis],
        };
        match axes.last_mut() {
            // A line of constants is a longer pad; lines that repeat others stay lines.
            Some(last) if next.is_whole() && (mode == Mode::Constant || last.is_whole()) => {
                last.size *= size;
                last.padded *= size;
                last.before = last.before.saturating_mul(size as i64);
            }
            _ => axes.push(next),
        }
    }
    axes
}

/// What of the shader depends on the number of axes and on the mode.
fn pad_text(mode: Mode, n_axes: usize) -> String {
    let last = n_axes - 1;
    let mut text = format!(
        "fn padded_cols() -> u32 {{ return params.padded{last}; }}
fn col_before() -> i32 {{ return params.before{last}; }}
fn x_cols() -> i32 {{ return i32(params.size{last}); }}
fn row_start(row: u32) -> i32 {{
  var rest = row;
  var at = 0;
  var stride = x_cols();\n"
    );
    for axis in (0..last).rev() {
        text.push_str(&format!(
            "  let outer{axis} = rest / params.padded{axis};
  let size{axis} = i32(params.size{axis});
  let c{axis} = inside(i32(rest - outer{axis} * params.padded{axis}) - params.before{axis}, size{axis});
  if c{axis} < 0 || c{axis} >= size{axis} {{ return -1; }}
  at += c{axis} * stride;
  stride *= size{axis};
  rest = outer{axis};\n"
        ));
    }
    text.push_str("  return at;\n}\n");
    text.push_str(match mode {
        Mode::Constant => "fn inside(at: i32, size: i32) -> i32 { return at; }",
        Mode::Edge => "fn inside(at: i32, size: i32) -> i32 { return max(min(at, size - 1), 0); }",
        Mode::Reflect => {
            "fn inside(at: i32, size: i32) -> i32 {
  let period = max(2 * (size - 1), 1);
  let turned = abs(at) % period;
  return min(turned, period - turned);
}"
        }
        Mode::Wrap => {
            "fn inside(at: i32, size: i32) -> i32 {
  let rest = at % size;
  return select(rest, rest + size, rest < 0);
}"
        }
    });
    text
}
