//! `Cast`, `CastLike`: the same elements as another type; `BitCast`: the same bits.

use super::pointwise::pointwise;
use super::rules::{dtype_attr, fit, onnx, required, tensor, with_value};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Refusal, Storage};
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
            "input x: i32[n, 7]\n b = Cast(x) {to = 9}\n y = Cast(b) {to = 1}\n output y: f32[n, 7]",
            "opset 5\n input x: i64[3]\n y = Cast(x) {to = \"FLOAT\"}\n output y: f32[3]",
            "input x: f32[n, 7]\n const small: f32[] = [0.00002]\n z = Mul(x, small)\n t = Cast(z) {to = 10}\n const large: f16[] = [1024.0]\n y = Mul(t, large)\n output y: f16[n, 7]",
            "input x: i32[n, 7]\n const large: i32[] = [2049]\n z = Mul(x, large)\n y = Cast(z) {to = 10}\n output y: f16[n, 7]",
            "input x: f32[n, 2]\n s = Shape(x)\n t = Cast(s) {to = 6}\n u = Cast(t) {to = 7}\n y = ConstantOfShape(u)\n output y: f32[n, 2]",
            "input x: f32[n, 7]\n y = Cast(x) {to = 2}\n output y: u8[n, 7]",
            "input x: f32[n, 7]\n y = Cast(x) {to = 3}\n output y: i8[n, 7]",
            "input x: f32[n, 7]\n y = Cast(x) {to = 6}\n output y: i32[n, 7]",
            "input x: f32[n, 7]\n y = Cast(x) {to = 7}\n output y: i64[n, 7]",
            "input x: f32[n, 7]\n y = Cast(x) {to = 9}\n output y: bool[n, 7]",
            "input x: f32[n, 7]\n y = Cast(x) {to = 10}\n output y: f16[n, 7]",
            "input x: f16[n, 7]\n y = Cast(x) {to = 1}\n output y: f32[n, 7]",
            "input x: f16[n, 7]\n y = Cast(x) {to = 2}\n output y: u8[n, 7]",
            "input x: f16[n, 7]\n y = Cast(x) {to = 3}\n output y: i8[n, 7]",
            "input x: f16[n, 7]\n y = Cast(x) {to = 6}\n output y: i32[n, 7]",
            "input x: f16[n, 7]\n y = Cast(x) {to = 7}\n output y: i64[n, 7]",
            "input x: f16[n, 7]\n y = Cast(x) {to = 9}\n output y: bool[n, 7]",
            "input x: i32[n, 7]\n y = Cast(x) {to = 1}\n output y: f32[n, 7]",
            "input x: i32[n, 7]\n y = Cast(x) {to = 2}\n output y: u8[n, 7]",
            "input x: i32[n, 7]\n y = Cast(x) {to = 3}\n output y: i8[n, 7]",
            "input x: i32[n, 7]\n y = Cast(x) {to = 7}\n output y: i64[n, 7]",
            "input x: i32[n, 7]\n y = Cast(x) {to = 9}\n output y: bool[n, 7]",
            "input x: i32[n, 7]\n y = Cast(x) {to = 10}\n output y: f16[n, 7]",
            "input x: i64[n, 7]\n y = Cast(x) {to = 1}\n output y: f32[n, 7]",
            "input x: i64[n, 7]\n y = Cast(x) {to = 2}\n output y: u8[n, 7]",
            "input x: i64[n, 7]\n y = Cast(x) {to = 3}\n output y: i8[n, 7]",
            "input x: i64[n, 7]\n y = Cast(x) {to = 6}\n output y: i32[n, 7]",
            "input x: i64[n, 7]\n y = Cast(x) {to = 9}\n output y: bool[n, 7]",
            "input x: i64[n, 7]\n y = Cast(x) {to = 10}\n output y: f16[n, 7]",
            "input x: i8[n, 7]\n y = Cast(x) {to = 1}\n output y: f32[n, 7]",
            "input x: i8[n, 7]\n y = Cast(x) {to = 2}\n output y: u8[n, 7]",
            "input x: i8[n, 7]\n y = Cast(x) {to = 6}\n output y: i32[n, 7]",
            "input x: i8[n, 7]\n y = Cast(x) {to = 7}\n output y: i64[n, 7]",
            "input x: i8[n, 7]\n y = Cast(x) {to = 9}\n output y: bool[n, 7]",
            "input x: i8[n, 7]\n y = Cast(x) {to = 10}\n output y: f16[n, 7]",
            "input x: u8[n, 7]\n y = Cast(x) {to = 1}\n output y: f32[n, 7]",
            "input x: u8[n, 7]\n y = Cast(x) {to = 3}\n output y: i8[n, 7]",
            "input x: u8[n, 7]\n y = Cast(x) {to = 6}\n output y: i32[n, 7]",
            "input x: u8[n, 7]\n y = Cast(x) {to = 7}\n output y: i64[n, 7]",
            "input x: u8[n, 7]\n y = Cast(x) {to = 9}\n output y: bool[n, 7]",
            "input x: u8[n, 7]\n y = Cast(x) {to = 10}\n output y: f16[n, 7]",
            "input x: bool[n, 7]\n y = Cast(x) {to = 1}\n output y: f32[n, 7]",
            "input x: bool[n, 7]\n y = Cast(x) {to = 2}\n output y: u8[n, 7]",
            "input x: bool[n, 7]\n y = Cast(x) {to = 3}\n output y: i8[n, 7]",
            "input x: bool[n, 7]\n y = Cast(x) {to = 6}\n output y: i32[n, 7]",
            "input x: bool[n, 7]\n y = Cast(x) {to = 7}\n output y: i64[n, 7]",
            "input x: bool[n, 7]\n y = Cast(x) {to = 10}\n output y: f16[n, 7]",
            "input x: f32[n, 7]\n const big: f32[] = [100000.0]\n z = Mul(x, big)\n y = Cast(z) {to = 10}\n output y: f16[n, 7]",
            "input x: f32[n, 7]\n const big: f32[] = [100.0]\n z = Mul(x, big)\n y = Cast(z) {to = 2}\n output y: u8[n, 7]",
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

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        convert(call)
    }
}

struct CastLike;

impl Op for CastLike {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let target = tensor(inputs, 1)?.dtype;
        Ok(vec![cast(tensor(inputs, 0)?, target)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        convert(call)
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

/// The elements of the first input in the type of the output.
fn convert(call: &Call) -> Result<Dispatch, Refusal> {
    let (x, y) = (call.input(0)?, call.output(0)?);
    let from = call.input_dtype(0).expect("it has a storage");
    let to = call.output_dtype(0).expect("it has a storage");
    let is_unsigned = |dtype| matches!(dtype, DType::U32 | DType::U64);
    // Kernels keep 32 bits of 64, in which these types do not meet.
    let is_lossy = match to {
        DType::I64 => is_unsigned(from),
        DType::U64 => matches!(from, DType::I8 | DType::I32 | DType::I64),
        _ => false,
    };
    if is_lossy {
        return Err(format!("no kernel from {from} to {to}").into());
    }
    // Halves that a device keeps as f32 are rounded where they are made, unless they fit anyway.
    let is_rounded = to == DType::F16
        && y.storage == Storage::F32
        && !(from == DType::F16 || x.storage.is_packed());
    if x.storage == y.storage && !is_rounded {
        return Ok(Dispatch::view(0));
    }
    let (functions, expression) = if is_rounded {
        (include_str!("half.wgsl"), "half_of(out(x))".to_owned())
    } else if let (true, Some((low, high))) = (x.storage.is_float(), range(y.storage)) {
        let clamped = format!("out(clamp(trunc(x), in0({low}), in0({high})))");
        ("", clamped)
    } else {
        ("", "out(x)".to_owned())
    };
    let apply = format!("{functions}fn apply(x: in0) -> out {{ return {expression}; }}");
    let mut kernel = Kernel::new("cast", &apply);
    if is_rounded {
        kernel = kernel.param_f32("infinity", f32::INFINITY);
    }
    let (x, y) = ((x, call.sizes(0)), (y, call.output_sizes(0)));
    Ok(Dispatch::one(pointwise(kernel, &[x], y, call.caps)))
}

/// The f32 at the ends of an integer type, as WGSL writes them.
fn range(storage: Storage) -> Option<(&'static str, &'static str)> {
    Some(match storage {
        Storage::I8 => ("-128.0", "127.0"),
        Storage::U8 => ("0.0", "255.0"),
        Storage::I32 => ("-2147483648.0", "2147483520.0"),
        Storage::U32 => ("0.0", "4294967040.0"),
        Storage::F32 | Storage::F16 | Storage::Bool => return None,
    })
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

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let keeps_bits = |dtype| {
            use DType::*;
            matches!(dtype, Some(F32 | I32 | U32 | I8 | U8))
        };
        if !keeps_bits(call.input_dtype(0)) || !keeps_bits(Some(self.to)) {
            return Err("no kernel for the bits of its types".into());
        }
        Ok(Dispatch::view(0))
    }
}
