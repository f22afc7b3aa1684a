//! `Cast`, `CastLike`: the same elements as another type; `BitCast`: the same bits.

use super::rules::{dtype_attr, fit, onnx, required, tensor, with_value};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "BitCast",
        parse_bit_cast,
        &["opset 26\n input x: f32[n, 2]\n y = BitCast(x) {to = 6}\n output y: i32[n, 2]"],
    ),
    onnx(
        "Cast",
        parse_cast,
        &[
            "input x: f32[n, 2]\n y = Cast(x) {to = 10}\n output y: f16[n, 2]",
            "opset 5\n input x: i64[3]\n y = Cast(x) {to = \"FLOAT\"}\n output y: f32[3]",
            "input x: f32[n, 2]\n s = Shape(x)\n t = Cast(s) {to = 6}\n u = Cast(t) {to = 7}\n y = ConstantOfShape(u)\n output y: f32[n, 2]",
        ],
    ),
    onnx(
        "CastLike",
        |_, _| Ok(Box::new(CastLike)),
        &["input x: i64[n]\n input like: f16[2, 2]\n y = CastLike(x, like)\n output y: f16[n]"],
    ),
];

struct Cast {
    to: DType,
}

fn parse_cast(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let to = match attrs.str("to") {
        Some(name) if version < 6 => named(name)?,
        _ => dtype_attr(required(attrs.int("to"), "to")?, "to")?,
    };
    Ok(Box::new(Cast { to }))
}

/// Before version 6 the type is given by its name in onnx.proto.
fn named(name: &str) -> Result<DType> {
    let lower = name.to_ascii_lowercase();
    let long = match &*lower {
        "float" => "float32",
        "double" => "float64",
        other => other,
    };
    DType::from_name(long)
        .ok_or_else(|| Error::unsupported("", format!("attribute to is {name}, no element type")))
}

impl Op for Cast {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![cast(tensor(inputs, 0)?, Some(self.to))])
    }
}

struct CastLike;

impl Op for CastLike {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let target = tensor(inputs, 1)?.dtype;
        Ok(vec![cast(tensor(inputs, 0)?, target)])
    }
}

fn cast(x: &Fact, to: Option<DType>) -> Fact {
    let element = |element: &Dim| match (to, element) {
        (Some(DType::Bool), Dim::Size(n)) => Dim::Size(i64::from(*n != 0)),
        _ => fit(to, element.clone()),
    };
    let value = x
        .value
        .as_ref()
        .map(|elements| elements.iter().map(element).collect());
    let y = Fact {
        dtype: to,
        ..x.clone()
    };
    with_value(y, value)
}

struct BitCast {
    to: DType,
}

fn parse_bit_cast(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let to = dtype_attr(required(attrs.int("to"), "to")?, "to")?;
    Ok(Box::new(BitCast { to }))
}

impl Op for BitCast {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        if let Some(from) = x.dtype
            && (from.bits() != self.to.bits() || from == DType::Str)
        {
            let why = format!("{from} has other bits than {}", self.to);
            return Err(Error::dtype("", why));
        }
        Ok(vec![Fact {
            dtype: Some(self.to),
            value: None,
            ..x.clone()
        }])
    }
}
