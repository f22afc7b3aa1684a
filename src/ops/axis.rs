//! Operators along one axis: `ArgMax`, `ArgMin`, `TopK`, `CumSum`, `CumProd`.

use super::rules::{
    axis_in, expect_dtype, expect_index, fact, is_number, onnx, required, scalar, tensor,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "ArgMax",
        parse_arg,
        &[
            "input x: f32[n, 3]\n y = ArgMax(x) {axis = -1, keepdims = 0}\n output y: i64[n]",
            "opset 1\n input x: f32[2, n]\n y = ArgMax(x)\n output y: i64[1, n]",
        ],
    ),
    onnx(
        "ArgMin",
        parse_arg,
        &["input x: i8[4]\n y = ArgMin(x) {keepdims = 0}\n output y: i64[]"],
    ),
    onnx(
        "CumProd",
        |_, _| Ok(Box::new(Cumulate)),
        &[
            "opset 26\n input x: f32[n, 3]\n const a: i64[] = [1]\n y = CumProd(x, a)\n output y: f32[n, 3]",
        ],
    ),
    onnx(
        "CumSum",
        |_, _| Ok(Box::new(Cumulate)),
        &[
            "input x: f32[n, 3]\n const a: i32[1] = [-2]\n y = CumSum(x, a) {reverse = 1}\n output y: f32[n, 3]",
        ],
    ),
    onnx(
        "TopK",
        parse_top_k,
        &[
            "input x: f16[n, 9]\n const k: i64[1] = [5]\n y, i = TopK(x, k)\n output y: f16[n, 5]\n output i: i64[n, 5]",
            "opset 9\n input x: f32[n, 9]\n y, i = TopK(x) {k = 2, axis = 0}\n output y: f32[2, 9]\n output i: i64[2, 9]",
            "input x: f32[n, 9]\n input k: i64[1]\n y, i = TopK(x, k)\n output y: f32[n, ?]\n output i: i64[n, ?]",
        ],
    ),
];

struct Arg {
    axis: i64,
    keepdims: bool,
}

fn parse_arg(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Arg {
        axis: attrs.int("axis").unwrap_or(0),
        keepdims: attrs.int("keepdims").unwrap_or(1) != 0,
    }))
}

impl Op for Arg {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_dtype(inputs, 0, is_number, "a number type")?;
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(Some(DType::I64), None)]);
        };
        let axis = axis_in(shape.rank(), self.axis)?;
        if shape[axis] == Dim::Size(0) {
            return Err(Error::shape(
                "",
                format!("axis {axis} of {shape} has no element"),
            ));
        }
        let mut dims = shape.0.clone();
        if self.keepdims {
            dims[axis] = Dim::Size(1);
        } else {
            dims.remove(axis);
        }
        Ok(vec![Fact::tensor(DType::I64, Shape(dims))])
    }
}

/// x: any shape, axis: one element -> the shape of x.
struct Cumulate;

impl Op for Cumulate {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        tensor(inputs, 1)?;
        expect_dtype(inputs, 0, is_number, "a number type")?;
        expect_index(inputs, 1)?;
        if let (Some(Dim::Size(axis)), Some(shape)) = (scalar(inputs, 1)?, &x.shape) {
            axis_in(shape.rank(), axis)?;
        }
        Ok(vec![fact(x.dtype, x.shape.clone())])
    }
}

struct TopK {
    axis: i64,
    /// An attribute before version 10, then an input.
    k: Option<i64>,
}

fn parse_top_k(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis").unwrap_or(-1);
    let k = if version < 10 {
        Some(required(attrs.int("k"), "k")?)
    } else {
        None
    };
    Ok(Box::new(TopK { axis, k }))
}

impl Op for TopK {
    /// The values and their indices: k of them along the axis.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_dtype(inputs, 0, is_number, "a number type")?;
        let k = match self.k {
            Some(k) => Dim::Size(k),
            None => {
                tensor(inputs, 1)?;
                scalar(inputs, 1)?.unwrap_or(Dim::Unknown)
            }
        };
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(x.dtype, None), fact(Some(DType::I64), None)]);
        };
        let axis = axis_in(shape.rank(), self.axis)?;
        let beyond = match (&k, &shape[axis]) {
            (Dim::Size(k), _) if *k < 0 => true,
            (Dim::Size(k), Dim::Size(size)) => k > size,
            _ => false,
        };
        if beyond {
            let why = format!("k is {k} for axis {axis} of {shape}");
            return Err(Error::shape("", why));
        }
        let mut dims = shape.0.clone();
        dims[axis] = k;
        let shape = Shape(dims);
        Ok(vec![
            fact(x.dtype, Some(shape.clone())),
            Fact::tensor(DType::I64, shape),
        ])
    }
}
