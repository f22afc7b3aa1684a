//! Elements in another order: `Transpose`, `DepthToSpace`, `SpaceToDepth`, `ReverseSequence`, and
//! `Trilu`, which keeps one triangle of each matrix.

use super::rules::{
    axes_in, axis_in, expect_rank, fact, onnx, required, scalar, tensor, unify, with_value,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Map, Refusal, View, dense_strides, view_of_input};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "DepthToSpace",
        parse_depth_to_space,
        &[
            "input x: f32[n, 12, h, 3]\n y = DepthToSpace(x) {blocksize = 2}\n output y: f32[n, 3, (h * 2), 6]",
            "input x: u8[2, 12, 3, 4]\n y = DepthToSpace(x) {blocksize = 2, mode = \"CRD\"}\n output y: u8[2, 3, 6, 8]",
            "input x: f16[1, 18, 2, 5]\n y = DepthToSpace(x) {blocksize = 3}\n output y: f16[1, 2, 6, 15]",
            "opset 1\n input x: f32[1, 4, 1, 1]\n y = DepthToSpace(x) {blocksize = 2}\n output y: f32[1, 1, 2, 2]",
        ],
    ),
    onnx(
        "ReverseSequence",
        parse_reverse_sequence,
        &[
            "input x: f32[t, b, 4]\n input lens: i64[b]\n y = ReverseSequence(x, lens)\n output y: f32[t, b, 4]",
            "input x: f32[5, 4, 3]\n const lens: i64[4] = [5, 1, 0, 3]\n y = ReverseSequence(x, lens)\n output y: f32[5, 4, 3]",
            "input x: u8[4, 5, 3]\n const lens: i64[4] = [5, 1, 2, 3]\n y = ReverseSequence(x, lens) {batch_axis = 0, time_axis = 1}\n output y: u8[4, 5, 3]",
            "input x: f32[2, 5]\n input lens: i64[2]\n y = ReverseSequence(x, lens) {batch_axis = 0, time_axis = 1}\n output y: f32[2, 5]",
        ],
    ),
    onnx(
        "SpaceToDepth",
        parse_space_to_depth,
        &[
            "input x: f32[n, 3, (h * 2), 6]\n y = SpaceToDepth(x) {blocksize = 2}\n output y: f32[n, 12, h, 3]",
            "input x: i8[1, 3, 6, 10]\n y = SpaceToDepth(x) {blocksize = 2}\n output y: i8[1, 12, 3, 5]",
            "input x: f32[1, c, 4, 4]\n y = SpaceToDepth(x) {blocksize = 4}\n output y: f32[1, (c * 16), 1, 1]",
        ],
    ),
    onnx(
        "Transpose",
        parse_transpose,
        &[
            "input x: f32[n, 3, 4]\n y = Transpose(x)\n output y: f32[4, 3, n]",
            "input x: f32[2, 33, 45]\n y = Transpose(x) {perm = [0, 2, 1]}\n output y: f32[2, 45, 33]",
            "input x: f16[65, 3, 16]\n y = Transpose(x) {perm = [2, 1, 0]}\n output y: f16[16, 3, 65]",
            "input x: f32[17, 2, 3, 16]\n y = Transpose(x) {perm = [3, 1, 2, 0]}\n output y: f32[16, 2, 3, 17]",
            "input x: f32[2, 5, 3, 8]\n y = Transpose(x) {perm = [0, 2, 1, 3]}\n output y: f32[2, 3, 5, 8]",
            "input x: i64[3, 8, 5]\n y = Transpose(x) {perm = [0, 2, 1]}\n output y: i64[3, 5, 8]",
            "input x: u8[2, 5, 3, 8]\n y = Transpose(x) {perm = [0, 2, 1, 3]}\n output y: u8[2, 3, 5, 8]",
            "input x: i8[2, 5, 3, 16]\n y = Transpose(x) {perm = [2, 1, 0, 3]}\n output y: i8[3, 5, 2, 16]",
            "input x: bool[7, 9]\n y = Transpose(x)\n output y: bool[9, 7]",
            "input x: f32[5, 1, 7]\n y = Transpose(x) {perm = [1, 0, 2]}\n output y: f32[1, 5, 7]",
            "input x: f32[2, 8, 12]\n y = Transpose(x) {perm = [0, 2, 1]}\n output y: f32[2, 12, 8]",
            "input x: f16[3, 20, 5, 4]\n y = Transpose(x) {perm = [3, 0, 2, 1]}\n output y: f16[4, 3, 5, 20]",
            "input x: str[2, n]\n y = Transpose(x) {perm = [1, 0]}\n output y: str[n, 2]",
            "input x: f32\n y = Transpose(x) {perm = [1, 0]}\n output y: f32[?, ?]",
        ],
    ),
    onnx(
        "Trilu",
        parse_trilu,
        &[
            "input x: f32[n, 3, 4]\n const k: i64[] = [1]\n y = Trilu(x, k) {upper = 0}\n output y: f32[n, 3, 4]",
            "input x: i64[7, 9]\n const k: i64[] = [-2]\n y = Trilu(x, k)\n output y: i64[7, 9]",
            "input x: f16[2, 5, 3]\n const k: i64[] = [100]\n y = Trilu(x, k)\n output y: f16[2, 5, 3]",
            "input x: bool[5, 5]\n const k: i64[] = [-100]\n y = Trilu(x, k) {upper = 0}\n output y: bool[5, 5]",
            "input x: bool[0, 2]\n y = Trilu(x)\n output y: bool[0, 2]",
        ],
    ),
];

struct Transpose {
    perm: Option<Vec<i64>>,
}

fn parse_transpose(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let perm = attrs.ints("perm").map(<[i64]>::to_vec);
    Ok(Box::new(Transpose { perm }))
}

impl Op for Transpose {
    /// Output axis i is input axis `perm[i]`; without `perm` the axes are reversed.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        let perm = match &self.perm {
            Some(perm) => Some(axes_in(perm.len(), perm)?),
            None => None,
        };
        let shape = match (&x.shape, perm) {
            (Some(shape), Some(perm)) if perm.len() != shape.rank() => {
                let why = format!("perm has {} axes, the input is {shape}", perm.len());
                return Err(Error::shape("", why));
            }
            (Some(shape), Some(perm)) => {
                Some(perm.iter().map(|&axis| shape[axis].clone()).collect())
            }
            (Some(shape), None) => Some(shape.iter().rev().cloned().collect()),
            (None, Some(perm)) => Some(Shape::unknown(perm.len())),
            (None, None) => None,
        };
        Ok(vec![with_value(fact(x.dtype, shape), x.value.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let x = View::dense(&call.sizes(0));
        let rank = x.sizes.len();
        let perm = match &self.perm {
            Some(perm) => axes_in(rank, perm).expect("infer has accepted the axes"),
            None => (0..rank).rev().collect(),
        };
        view_of_input("transpose", call, &x.permuted(&perm))
    }
}

struct DepthToSpace {
    blocksize: i64,
    channels_first: bool,
}

/// Whether depth is [channels, block, block] rather than [block, block, channels].
fn channels_first(attrs: &Attrs) -> bool {
    attrs.str("mode") == Some("CRD")
}

/// A block that squared still is a number.
fn blocksize(attrs: &Attrs) -> Result<i64> {
    let blocksize = required(attrs.int("blocksize"), "blocksize")?;
    if !(1..=i64::from(u16::MAX)).contains(&blocksize) {
        let why = format!("attribute blocksize is {blocksize}, expected 1 to 65535");
        return Err(Error::parse("", why));
    }
    Ok(blocksize)
}

fn block(blocksize: i64) -> usize {
    usize::try_from(blocksize).expect("parse has accepted the size")
}

fn parse_depth_to_space(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(DepthToSpace {
        blocksize: blocksize(attrs)?,
        channels_first: channels_first(attrs),
    }))
}

/// # Errors
/// `SHAPE_MISMATCH` when the division leaves a rest.
fn divide(dim: &Dim, divisor: i64, what: &str) -> Result<Dim> {
    match dim {
        Dim::Size(n) if n % divisor != 0 => {
            let why = format!("{what} {n} is no multiple of {divisor}");
            Err(Error::shape("", why))
        }
        _ => Ok(dim.floor_div(&Dim::Size(divisor))),
    }
}

impl Op for DepthToSpace {
    /// x: [n, c, h, w] -> [n, c / b^2, h * b, w * b]
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_rank(inputs, 0, 4)?;
        let block = self.blocksize;
        let shape = match x.shape.as_ref().map(|shape| &shape.0[..]) {
            Some([n, c, h, w]) => {
                let depth = divide(c, block * block, "depth")?;
                Shape(vec![n.clone(), depth, h * block, w * block])
            }
            _ => Shape::unknown(4),
        };
        Ok(vec![fact(x.dtype, Some(shape))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let x = call.sizes(0);
        let (b, c) = (block(self.blocksize), call.output_sizes(0)[1]);
        let x = if self.channels_first {
            View::dense(&[x[0], c, b, b, x[2], x[3]]).permuted(&[0, 1, 4, 2, 5, 3])
        } else {
            View::dense(&[x[0], b, b, c, x[2], x[3]]).permuted(&[0, 3, 4, 1, 5, 2])
        };
        view_of_input("depth_to_space", call, &x)
    }
}

struct SpaceToDepth {
    blocksize: i64,
    channels_first: bool,
}

fn parse_space_to_depth(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(SpaceToDepth {
        blocksize: blocksize(attrs)?,
        channels_first: channels_first(attrs),
    }))
}

impl Op for SpaceToDepth {
    /// x: [n, c, h, w] -> [n, c * b^2, h / b, w / b]
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_rank(inputs, 0, 4)?;
        let block = self.blocksize;
        let shape = match x.shape.as_ref().map(|shape| &shape.0[..]) {
            Some([n, c, h, w]) => {
                let (h, w) = (divide(h, block, "height")?, divide(w, block, "width")?);
                Shape(vec![n.clone(), c * (block * block), h, w])
            }
            _ => Shape::unknown(4),
        };
        Ok(vec![fact(x.dtype, Some(shape))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y, b) = (call.sizes(0), call.output_sizes(0), block(self.blocksize));
        let x = View::dense(&[x[0], x[1], y[2], b, y[3], b]);
        let perm = if self.channels_first {
            [0, 1, 3, 5, 2, 4]
        } else {
            [0, 3, 5, 1, 2, 4]
        };
        view_of_input("space_to_depth", call, &x.permuted(&perm))
    }
}

struct ReverseSequence {
    batch_axis: i64,
    time_axis: i64,
}

fn parse_reverse_sequence(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(ReverseSequence {
        batch_axis: attrs.int("batch_axis").unwrap_or(1),
        time_axis: attrs.int("time_axis").unwrap_or(0),
    }))
}

impl Op for ReverseSequence {
    /// x: any shape, lens: [batch] -> the shape of x.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, lens) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        expect_rank(inputs, 1, 1)?;
        if let Some(shape) = &x.shape {
            let axes = [self.batch_axis, self.time_axis];
            let batch_axis = axes_in(shape.rank(), &axes)?[0];
            if let Some(lens) = &lens.shape
                && unify(&shape[batch_axis], &lens[0]).is_none()
            {
                let why = format!("{} lengths for a batch of {}", lens[0], shape[batch_axis]);
                return Err(Error::shape("", why));
            }
        }
        Ok(vec![fact(x.dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let sizes = call.sizes(0);
        let axes = axes_in(sizes.len(), &[self.batch_axis, self.time_axis]);
        let axes = axes.expect("infer has accepted the axes");
        let strides = dense_strides(&sizes);
        let kernel = Map::kernel("reverse_sequence", include_str!("reverse_sequence.wgsl"))
            .param("n_batches", sizes[axes[0]])
            .param("batch_stride", strides[axes[0]])
            .param("n_times", sizes[axes[1]])
            .param("time_stride", strides[axes[1]])
            .read("x", call.input(0)?)
            .read("lens", call.input(1)?);
        let n_elems = sizes.iter().product();
        let y = call.output(0)?;
        Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
    }
}

struct Trilu {
    upper: bool,
}

fn parse_trilu(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let upper = attrs.int("upper").unwrap_or(1) != 0;
    Ok(Box::new(Trilu { upper }))
}

impl Op for Trilu {
    /// x: [.., rows, cols], k: one element -> the shape of x.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        if inputs.get(1).is_some() {
            scalar(inputs, 1)?;
        }
        if let Some(shape) = &x.shape {
            axis_in(shape.rank(), -2)?;
        }
        Ok(vec![fact(x.dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let sizes = call.sizes(0);
        let (rows, cols) = (sizes[sizes.len() - 2], sizes[sizes.len() - 1]);
        let k = if call.has_input(1) {
            call.ints(1)?[0]
        } else {
            0
        };
        // Further diagonals are as empty as the first that is.
        let far = |n: usize| i32::try_from(n).expect("the plan refuses tensors of 2^31 elements");
        let k = k.clamp(-i64::from(far(rows)), i64::from(far(cols)));
        let keeps = if self.upper { ">=" } else { "<=" };
        let kernel = Map::kernel("trilu", include_str!("trilu.wgsl"))
            .param("rows", rows)
            .param("cols", cols)
            .param_i32("k", k as i32)
            .snippet(&format!(
                "fn keeps(diagonal: i32) -> bool {{ return diagonal {keeps} params.k; }}"
            ))
            .read("x", call.input(0)?);
        let n_elems = sizes.iter().product();
        let y = call.output(0)?;
        Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
    }
}
