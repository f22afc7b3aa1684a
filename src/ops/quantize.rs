//! Quantisation: `q = round(x / scale) + zero_point`, kept within the type of `q`, and back:
//! `x = (q - zero_point) * scale`. Scales are for the whole tensor, for each index of an axis, or
//! for each block of indices along it.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact, Shape};

const QUANTIZE_CASES: &[&str] = &[
    "input x: f32[n, 3, 4]\n input s: f32[]\n y = QuantizeLinear(x, s)\n output y: u8[n, 3, 4]",
    "input x: f16[n, 3, 4]\n input s: f16[3]\n input z: i8[3]
     y = QuantizeLinear(x, s, z) {axis = 1}\n output y: i8[n, 3, 4]",
    "input x: f32[8, 10]\n input s: f32[8, 3]
     y = QuantizeLinear(x, s) {axis = -1, block_size = 4, output_dtype = 22}
     output y: i4[8, 10]",
    "opset 10\n input x: f32[?, 2]\n input s: f32[]\n input z: u8[]
     y = QuantizeLinear(x, s, z)\n output y: u8[?, 2]",
];

const DEQUANTIZE_CASES: &[&str] = &[
    "input x: i8[n, 3]\n input s: f32[3]\n input z: i8[3]\n y = DequantizeLinear(x, s, z)\n output y: f32[n, 3]",
    "input x: u4[8, 10]\n input s: f16[8, 5]\n y = DequantizeLinear(x, s) {block_size = 2}\n output y: f16[8, 10]",
    "opset 23\n input x: i32[4]\n input s: f32[]
     y = DequantizeLinear(x, s) {output_dtype = 10}\n output y: f16[4]",
    "opset 13\n input x: u8\n input s: f32[1]\n y = DequantizeLinear(x, s)\n output y: f32",
];

pub const DEFS: &[OpDef] = &[
    rules::onnx("QuantizeLinear", quantize, QUANTIZE_CASES),
    check::microsoft(
        "QuantizeLinear",
        quantize,
        &["opset com.microsoft 1
        input x: f32[n]\n input s: f32[]\n input z: u16[]
        y = com.microsoft::QuantizeLinear(x, s, z)\n output y: u16[n]"],
    ),
    rules::onnx("DequantizeLinear", dequantize, DEQUANTIZE_CASES),
    check::microsoft(
        "DequantizeLinear",
        dequantize,
        &["opset com.microsoft 1
        input x: u16[n]\n input s: f32[]\n input z: u16[]
        y = com.microsoft::DequantizeLinear(x, s, z)\n output y: f32[n]"],
    ),
    rules::onnx(
        "DynamicQuantizeLinear",
        |_, _| Ok(Box::new(Dynamic)),
        &["input x: f32[n, 3]\n y, s, z = DynamicQuantizeLinear(x)
           output y: u8[n, 3]\n output s: f32[]\n output z: u8[]"],
    ),
];

struct Linear {
    direction: Direction,
    axis: i64,
    /// 0 where a scale is not for a block.
    block_size: i64,
    output_dtype: Option<DType>,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Quantize,
    Dequantize,
}

fn quantize(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse(attrs, Direction::Quantize)
}

fn dequantize(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    parse(attrs, Direction::Dequantize)
}

fn parse(attrs: &Attrs, direction: Direction) -> Result<Box<dyn Op>> {
    let output_dtype = match attrs.int("output_dtype") {
        None | Some(0) => None,
        Some(number) => Some(rules::dtype_attr(number, "output_dtype")?),
    };
    Ok(Box::new(Linear {
        direction,
        axis: attrs.int("axis").unwrap_or(1),
        block_size: check::count(attrs, "block_size", 0)?.unwrap_or(0),
        output_dtype,
    }))
}

impl Op for Linear {
    /// x: [d..], scale, zero point: [], [1], [d of the axis], or like x with blocks along the axis.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let scale = rules::tensor(inputs, 1)?;
        let zero_point = inputs.get(2);
        let dtype = match self.direction {
            Direction::Quantize => match (zero_point.map(|fact| fact.dtype), self.output_dtype) {
                (Some(Some(given)), Some(named)) if given != named => {
                    let why = format!("the zero point is {given}, output_dtype names {named}");
                    return Err(Error::dtype("", why));
                }
                (Some(given), named) => given.or(named),
                (None, named) => named.or(Some(DType::U8)),
            },
            Direction::Dequantize => {
                rules::same_dtype(inputs, [0, 2])?;
                self.output_dtype.or(scale.dtype)
            }
        };
        if let (Some(x), Some(scale)) = (&x.shape, &scale.shape) {
            self.check_scale(x, scale)?;
        }
        // Exporters write a zero point for the whole tensor as [] beside a scale of [1].
        let single = |idx| {
            inputs
                .shape(idx)
                .is_some_and(|s: &Shape| s.elements() == Dim::Size(1))
        };
        if !(single(1) && single(2)) {
            rules::unify_shapes(inputs.shape(1), inputs.shape(2), "scale and zero point")?;
        }
        Ok(vec![rules::fact(dtype, x.shape.clone())])
    }
}

impl Linear {
    fn check_scale(&self, x: &Shape, scale: &Shape) -> Result<()> {
        if self.block_size > 0 {
            let axis = rules::axis_in(x.rank(), self.axis)?;
            let mut blocks = x.0.clone();
            blocks[axis] = x[axis].ceil_div(&Dim::Size(self.block_size));
            return check::meet_shape("scale", Some(scale), &mut blocks);
        }
        // One scale for everything needs no axis: the default one may be outside.
        if scale.elements() == Dim::Size(1) {
            return Ok(());
        }
        check::rank("scale", scale, 1)?;
        let axis = rules::axis_in(x.rank(), self.axis)?;
        check::meet("scales and indices of the axis", &scale[0], &x[axis])?;
        Ok(())
    }
}

/// Finds the scale and the zero point from the range of `x`.
struct Dynamic;

impl Op for Dynamic {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        rules::expect_dtype(inputs, 0, |dtype| dtype == DType::F32, "f32")?;
        Ok(vec![
            rules::fact(Some(DType::U8), x.shape.clone()),
            Fact::tensor(DType::F32, Shape::scalar()),
            Fact::tensor(DType::U8, Shape::scalar()),
        ])
    }
}
