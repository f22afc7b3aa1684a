//! `IsNaN` and `IsInf`, which look at the bits of floats.

use super::pointwise::pointwise;
use super::rules::{expect_dtype, onnx, tensor};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Kernel, Refusal};
use crate::tensor::{DType, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "IsInf",
        parse_is_inf,
        &[
            "input x: f32[n]\n y = IsInf(x)\n output y: bool[n]",
            "input x: f32[n, 7]\n const zero: f32[] = [0.0]\n r = Round(x)\n q = Div(x, r)\n y = IsInf(q) {detect_negative = 0}\n output y: bool[n, 7]",
        ],
    ),
    onnx(
        "IsNaN",
        parse_is_nan,
        &["input x: f8e5m2[n]\n y = IsNaN(x)\n output y: bool[n]"],
    ),
];

/// `IsNaN`, `IsInf`: a float type of any width in, bool out.
struct Classify {
    /// WGSL of `bits`, the f32 as a u32.
    is_one: &'static str,
}

fn parse_is_nan(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Classify {
        is_one: "(bits & 0x7fffffffu) > 0x7f800000u",
    }))
}

fn parse_is_inf(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let detects = |name: &str| attrs.int(name).unwrap_or(1) != 0;
    let is_one = match (detects("detect_positive"), detects("detect_negative")) {
        (true, true) => "(bits & 0x7fffffffu) == 0x7f800000u",
        (true, false) => "bits == 0x7f800000u",
        (false, true) => "bits == 0xff800000u",
        (false, false) => "false",
    };
    Ok(Box::new(Classify { is_one }))
}

impl Op for Classify {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        let takes = |dtype: DType| {
            use DType::*;
            let narrow = matches!(dtype, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ);
            dtype.is_float() || narrow
        };
        expect_dtype(inputs, 0, takes, "a float type")?;
        Ok(vec![Fact {
            dtype: Some(DType::Bool),
            value: None,
            ..x.clone()
        }])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y) = (call.input(0)?, call.output(0)?);
        let apply = format!(
            "fn is_one(x: f32) -> bool {{\n  let bits = bitcast<u32>(x);\n  return {};\n}}
fn apply(x: in0) -> out {{ return out(is_one(x.x), is_one(x.y), is_one(x.z), is_one(x.w)); }}",
            self.is_one
        );
        let sizes = call.sizes(0);
        Ok(Dispatch::one(pointwise(
            Kernel::new("classify", &apply),
            &[(x, sizes.clone())],
            (y, sizes),
            call.caps,
        )))
    }
}
