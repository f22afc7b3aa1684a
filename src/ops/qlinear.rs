//! ONNX Runtime's elementwise operators and the like over quantised elements: each tensor comes
//! with its scale and zero point, and the result is quantised again.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::tensor::{Fact, Shape};

pub const DEFS: &[OpDef] = &[
    check::microsoft(
        "QLinearAdd",
        |_, _| Ok(Box::new(Binary)),
        &[
            "opset com.microsoft 1\n input a: u8[n, 4]\n input b: u8[4]\n input s: f32[]\n input z: u8[]
             y = com.microsoft::QLinearAdd(a, s, z, b, s, z, s, z)\n output y: u8[n, 4]",
            "opset com.microsoft 1\n input a: i8[1, 3]\n input b: i8[2, 1]\n input s: f32[]
             y = com.microsoft::QLinearAdd(a, s, _, b, s, _, s)\n output y: i8[2, 3]",
        ],
    ),
    check::microsoft(
        "QLinearMul",
        |_, _| Ok(Box::new(Binary)),
        &["opset com.microsoft 1\n input a: u8[n, 4]\n input b: u8[]\n input s: f32[]\n input z: u8[]
           y = com.microsoft::QLinearMul(a, s, z, b, s, z, s, z)\n output y: u8[n, 4]"],
    ),
    check::microsoft(
        "QLinearSigmoid",
        unary,
        &["opset com.microsoft 1\n input x: u8[n, 4]\n input s: f32[]\n input z: u8[]
           y = com.microsoft::QLinearSigmoid(x, s, z, s, z)\n output y: u8[n, 4]"],
    ),
    check::microsoft(
        "QLinearLeakyRelu",
        unary,
        &["opset com.microsoft 1\n input x: i8[n, 4]\n input s: f32[]
           y = com.microsoft::QLinearLeakyRelu(x, s, _, s) {alpha = 0.1}\n output y: i8[n, 4]"],
    ),
    check::microsoft(
        "QLinearSoftmax",
        softmax,
        &["opset com.microsoft 1\n input x: u8[n, 4]\n input s: f32[]\n input z: u8[]
           y = com.microsoft::QLinearSoftmax(x, s, z, s, z) {axis = -1, opset = 13}\n output y: u8[n, 4]"],
    ),
    check::microsoft(
        "QLinearWhere",
        |_, _| Ok(Box::new(Where)),
        &["opset com.microsoft 1\n input c: bool[n, 1]\n input a: u8[4]\n input s: f32[]\n input z: u8[]
           y = com.microsoft::QLinearWhere(c, a, s, z, a, s, z, s, z)\n output y: u8[n, 4]"],
    ),
    check::microsoft(
        "QLinearConcat",
        concat,
        &["opset com.microsoft 1\n input a: u8[n, 4]\n input b: u8[n, h]\n input s: f32[]\n input z: u8[]
           y = com.microsoft::QLinearConcat(s, z, a, s, z, b, s, z) {axis = 1}\n output y: u8[n, (h + 4)]"],
    ),
];

/// a, its scale and zero point, b with its own, those of y -> a and b stretched over each other.
struct Binary;

impl Op for Binary {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let dtype = rules::same_dtype(inputs, [0, 2, 3, 5, 7])?;
        let shape = rules::broadcast_inputs(inputs, [0, 3])?;
        Ok(vec![rules::fact(dtype, shape)])
    }
}

/// x, its scale and zero point, those of y -> like x.
struct Unary {
    axis: Option<i64>,
}

fn unary(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Unary { axis: None }))
}

fn softmax(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = Some(attrs.int("axis").unwrap_or(-1));
    Ok(Box::new(Unary { axis }))
}

impl Op for Unary {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let dtype = rules::same_dtype(inputs, [0, 2, 4])?;
        if let (Some(shape), Some(axis)) = (&x.shape, self.axis) {
            rules::axis_in(shape.rank(), axis)?;
        }
        Ok(vec![rules::fact(dtype, x.shape.clone())])
    }
}

/// condition, then a, b and y with scale and zero point each -> all stretched over each other.
struct Where;

impl Op for Where {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        rules::expect_dtype(inputs, 0, rules::is_bool, "bool")?;
        let dtype = rules::same_dtype(inputs, [1, 3, 4, 6, 8])?;
        let shape = rules::broadcast_inputs(inputs, [0, 1, 4])?;
        Ok(vec![rules::fact(dtype, shape)])
    }
}

/// Scale and zero point of y, then each part with its own -> the parts one after another.
struct Concat {
    axis: i64,
}

fn concat(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = rules::required(attrs.int("axis"), "axis")?;
    Ok(Box::new(Concat { axis }))
}

impl Op for Concat {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let n_inputs = inputs.facts.len();
        if n_inputs < 5 || n_inputs % 3 != 2 {
            let why = format!("{n_inputs} inputs are not 2 and 3 for each part");
            return Err(Error::shape("", why));
        }
        let dtype = rules::tensor(inputs, 1)?.dtype;
        let mut parts = Vec::new();
        for idx in (2..n_inputs).step_by(3) {
            parts.push(rules::tensor(inputs, idx)?.shape.as_ref());
        }
        let parts: Option<Vec<&Shape>> = parts.into_iter().collect();
        let shape = parts.map(|parts| joined(&parts, self.axis)).transpose()?;
        Ok(vec![rules::fact(dtype, shape)])
    }
}

/// # Errors
/// `SHAPE_MISMATCH` when the parts differ beside the axis.
fn joined(parts: &[&Shape], axis: i64) -> Result<Shape> {
    let mut joined = parts[0].clone();
    let axis = rules::axis_in(joined.rank(), axis)?;
    for part in &parts[1..] {
        check::rank("a part", part, joined.rank())?;
        let size = &joined[axis] + &part[axis];
        joined.0[axis] = part[axis].clone();
        check::meet_shape("a part", Some(part), &mut joined.0)?;
        joined.0[axis] = size;
    }
    Ok(joined)
}
