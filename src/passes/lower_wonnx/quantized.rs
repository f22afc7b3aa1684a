//! Quantise and dequantise in one step: wonnx has no 8-bit types, but a value that only passes
//! through one is a rounded f32.

use super::{Build, Formula, Skip, known_number, producer};
use crate::graph::ValueId;
use crate::tensor::DType;

// dequantize(quantize(x)) = (clip(round(x / s) + z) - z') * s'
pub(super) fn rounded(b: &Build) -> Formula {
    let pair = producer(b, b.x()?).filter(|node| node.op.is("QuantizeLinear"));
    let quantize = pair.ok_or(Skip::NoMatch)?;
    let x = quantize.input(0).ok_or(Skip::NoMatch)?;
    let scale = quantize.input(1).ok_or(Skip::NoMatch)?;
    let zero_point = |value: Option<ValueId>| match value {
        None => Ok(0),
        Some(value) => match b.known_ints(value)?[..] {
            [zero] => Ok(zero),
            _ => Err(Skip::Refused("zero points differ by slice")),
        },
    };
    let dtype = b.dtype(b.x()?)?;
    let (low, high) = match dtype {
        DType::U8 => (0, 255),
        DType::I8 => (-128, 127),
        _ => return Err(Skip::Refused("the type is not of 8 bits")),
    };
    if b.dtype(x)? != DType::F32 {
        return Err(Skip::Refused("wonnx rounds f32"));
    }
    let (zero, zero_back) = (zero_point(quantize.input(2))?, zero_point(b.node.input(2))?);
    let single = |value| known_number(b, value).ok_or(Skip::Refused("scales differ by slice"));
    let (scale, scale_back) = (single(scale)?, single(b.input(1)?)?);
    let number = |number: i64| b.scalar(DType::F32, number as f64);
    let steps = b.op("Round", &[b.div(x, b.scalar(DType::F32, scale)?)]);
    let inside = b.op("Clip", &[steps, number(low - zero)?, number(high - zero)?]);
    let shifted = if zero == zero_back {
        inside
    } else {
        b.add(inside, number(zero - zero_back)?)
    };
    Ok(b.mul(shifted, b.scalar(DType::F32, scale_back)?))
}
