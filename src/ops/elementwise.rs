//! Operators of one input that keep its shape: `y[i] = f(x[i])`.

use super::rules::{expect_dtype, fit, is_bool, is_number, onnx, same_dtype, tensor, with_value};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact, Kind};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Abs",
        |_, _| map(Takes::Numbers, absolute),
        &[
            "input x: i8[2, n]\n y = Abs(x)\n output y: i8[2, n]",
            "const x: i64[2] = [-3, 4]\n y = Abs(x)\n z = ConstantOfShape(y)\n output z: f32[3, 4]",
        ],
    ),
    onnx(
        "Acos",
        floats,
        &["input x: f32[n]\n y = Acos(x)\n output y: f32[n]"],
    ),
    onnx(
        "Acosh",
        floats,
        &["input x: f64[]\n y = Acosh(x)\n output y: f64[]"],
    ),
    onnx(
        "Asin",
        floats,
        &["input x: f16[0, 3]\n y = Asin(x)\n output y: f16[0, 3]"],
    ),
    onnx(
        "Asinh",
        floats,
        &["input x: f32[n]\n y = Asinh(x)\n output y: f32[n]"],
    ),
    onnx(
        "Atan",
        floats,
        &["input x: bf16[n]\n y = Atan(x)\n output y: bf16[n]"],
    ),
    onnx(
        "Atanh",
        floats,
        &["input x: f32\n y = Atanh(x)\n output y: f32"],
    ),
    onnx(
        "BitwiseNot",
        integers,
        &["input x: u16[3]\n y = BitwiseNot(x)\n output y: u16[3]"],
    ),
    onnx(
        "Ceil",
        floats,
        &["input x: f32[(n * 2)]\n y = Ceil(x)\n output y: f32[(n * 2)]"],
    ),
    onnx(
        "Celu",
        floats,
        &["input x: f32[2]\n y = Celu(x) {alpha = 2.0}\n output y: f32[2]"],
    ),
    onnx(
        "Clip",
        |_, _| Ok(Box::new(Clip)),
        &[
            "input x: f32[n, 3]\n const low: f32[] = [0.0]\n y = Clip(x, low)\n output y: f32[n, 3]",
            "opset 6\n input x: f32[2]\n y = Clip(x) {min = 0.0, max = 6.0}\n output y: f32[2]",
            "const x: i64[2] = [-3, 9]\n const low: i64[] = [1]\n const high: i64[] = [4]\n y = Clip(x, low, high)\n z = ConstantOfShape(y)\n output z: f32[1, 4]",
        ],
    ),
    onnx(
        "Cos",
        floats,
        &["input x: f32[n]\n y = Cos(x)\n output y: f32[n]"],
    ),
    onnx(
        "Cosh",
        floats,
        &["input x: f32[n]\n y = Cosh(x)\n output y: f32[n]"],
    ),
    onnx(
        "Dropout",
        |_, version| {
            Ok(Box::new(Dropout {
                bool_mask: version >= 10,
            }))
        },
        &[
            "input x: f16[n, 3]\n y, mask = Dropout(x)\n output y: f16[n, 3]\n output mask: bool[n, 3]",
            "opset 7\n input x: f32[4]\n y, mask = Dropout(x) {ratio = 0.1}\n output y: f32[4]\n output mask: f32[4]",
        ],
    ),
    onnx(
        "Elu",
        floats,
        &["input x: f32[n]\n y = Elu(x) {alpha = 0.5}\n output y: f32[n]"],
    ),
    onnx(
        "Erf",
        numbers,
        &["input x: f32[n]\n y = Erf(x)\n output y: f32[n]"],
    ),
    onnx(
        "Exp",
        floats,
        &["input x: f32[n]\n y = Exp(x)\n output y: f32[n]"],
    ),
    onnx(
        "Floor",
        floats,
        &["input x: f32[n]\n y = Floor(x)\n output y: f32[n]"],
    ),
    onnx(
        "Gelu",
        floats,
        &["input x: f32[n]\n y = Gelu(x) {approximate = \"tanh\"}\n output y: f32[n]"],
    ),
    microsoft(
        "Gelu",
        floats,
        &[
            "opset com.microsoft 1\n input x: f32[n]\n y = com.microsoft::Gelu(x)\n output y: f32[n]",
        ],
    ),
    onnx(
        "HardSigmoid",
        floats,
        &["input x: f32[n]\n y = HardSigmoid(x)\n output y: f32[n]"],
    ),
    onnx(
        "HardSwish",
        floats,
        &["input x: f32[n]\n y = HardSwish(x)\n output y: f32[n]"],
    ),
    onnx(
        "Identity",
        |_, _| Ok(Box::new(Identity)),
        &[
            "input x: seq(f32[2])\n y = Identity(x)\n output y: seq(f32[2])",
            "input x: str[n]\n y = Identity(x)\n output y: str[n]",
            "input x: f32[n, 2]\n s = Shape(x)\n t = Identity(s)\n y = ConstantOfShape(t)\n output y: f32[n, 2]",
        ],
    ),
    onnx(
        "IsInf",
        classify,
        &["input x: f32[n]\n y = IsInf(x)\n output y: bool[n]"],
    ),
    onnx(
        "IsNaN",
        classify,
        &["input x: f8e5m2[n]\n y = IsNaN(x)\n output y: bool[n]"],
    ),
    onnx(
        "LeakyRelu",
        floats,
        &["input x: f32[n]\n y = LeakyRelu(x)\n output y: f32[n]"],
    ),
    onnx(
        "Log",
        floats,
        &["input x: f32[n]\n y = Log(x)\n output y: f32[n]"],
    ),
    onnx(
        "Mish",
        floats,
        &["input x: f32[n]\n y = Mish(x)\n output y: f32[n]"],
    ),
    onnx(
        "Neg",
        |_, _| map(Takes::Numbers, |x| &Dim::Size(0) - x),
        &[
            "input x: i32[]\n y = Neg(x)\n output y: i32[]",
            "const x: i64[1] = [-3]\n y = Neg(x)\n z = ConstantOfShape(y)\n output z: f32[3]",
        ],
    ),
    onnx(
        "Not",
        |_, _| map(Takes::Bools, |x| &Dim::Size(1) - x),
        &["input x: bool[n, 2]\n y = Not(x)\n output y: bool[n, 2]"],
    ),
    microsoft(
        "QuickGelu",
        floats,
        &[
            "opset com.microsoft 1\n input x: f16[n]\n y = com.microsoft::QuickGelu(x)\n output y: f16[n]",
        ],
    ),
    onnx(
        "Reciprocal",
        floats,
        &["input x: f32[n]\n y = Reciprocal(x)\n output y: f32[n]"],
    ),
    onnx(
        "Relu",
        |_, _| map(Takes::Numbers, |x| x.max(&Dim::Size(0))),
        &[
            "input x: f32[1, c, (h * 2), ?]\n y = Relu(x)\n output y: f32[1, c, (h * 2), ?]",
            "opset 6\n input x: f32[0]\n y = Relu(x)\n output y: f32[0]",
        ],
    ),
    onnx(
        "Round",
        floats,
        &["input x: f32[n]\n y = Round(x)\n output y: f32[n]"],
    ),
    onnx(
        "Selu",
        floats,
        &["input x: f32[n]\n y = Selu(x)\n output y: f32[n]"],
    ),
    onnx(
        "Shrink",
        numbers,
        &["input x: i32[n]\n y = Shrink(x) {bias = 1.0}\n output y: i32[n]"],
    ),
    onnx(
        "Sigmoid",
        floats,
        &["input x: f32[n]\n y = Sigmoid(x)\n output y: f32[n]"],
    ),
    onnx(
        "Sign",
        numbers,
        &["input x: i64[n]\n y = Sign(x)\n output y: i64[n]"],
    ),
    onnx(
        "Sin",
        floats,
        &["input x: f32[n]\n y = Sin(x)\n output y: f32[n]"],
    ),
    onnx(
        "Sinh",
        floats,
        &["input x: f32[n]\n y = Sinh(x)\n output y: f32[n]"],
    ),
    onnx(
        "Softplus",
        floats,
        &["input x: f32[n]\n y = Softplus(x)\n output y: f32[n]"],
    ),
    onnx(
        "Softsign",
        floats,
        &["input x: f32[n]\n y = Softsign(x)\n output y: f32[n]"],
    ),
    onnx(
        "Sqrt",
        floats,
        &["input x: f32[n]\n y = Sqrt(x)\n output y: f32[n]"],
    ),
    onnx(
        "Swish",
        floats,
        &["opset 24\n input x: f32[n]\n y = Swish(x)\n output y: f32[n]"],
    ),
    onnx(
        "Tan",
        floats,
        &["input x: f32[n]\n y = Tan(x)\n output y: f32[n]"],
    ),
    onnx(
        "Tanh",
        floats,
        &["input x: f32[n]\n y = Tanh(x)\n output y: f32[n]"],
    ),
    onnx(
        "ThresholdedRelu",
        floats,
        &["input x: f32[n]\n y = ThresholdedRelu(x)\n output y: f32[n]"],
    ),
];

const fn microsoft(
    name: &'static str,
    parse: fn(&Attrs, i64) -> Result<Box<dyn Op>>,
    cases: &'static [&'static str],
) -> OpDef {
    OpDef {
        domain: "com.microsoft",
        ..onnx(name, parse, cases)
    }
}

#[derive(Clone, Copy)]
enum Takes {
    Floats,
    Integers,
    Numbers,
    Bools,
}

impl Takes {
    fn check(self, inputs: &Inputs) -> Result<()> {
        match self {
            Takes::Floats => expect_dtype(inputs, 0, DType::is_float, "a float type"),
            Takes::Integers => expect_dtype(inputs, 0, DType::is_int, "an integer type"),
            Takes::Numbers => expect_dtype(inputs, 0, is_number, "a number type"),
            Takes::Bools => expect_dtype(inputs, 0, is_bool, "bool"),
        }
    }
}

/// The output has the input's shape and type.
struct Map {
    takes: Takes,
    /// The function on one integer element; unknown where it is not worth following.
    value: fn(&Dim) -> Dim,
}

fn map(takes: Takes, value: fn(&Dim) -> Dim) -> Result<Box<dyn Op>> {
    Ok(Box::new(Map { takes, value }))
}

fn floats(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    map(Takes::Floats, |_| Dim::Unknown)
}

fn integers(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    map(Takes::Integers, |_| Dim::Unknown)
}

fn numbers(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    map(Takes::Numbers, |_| Dim::Unknown)
}

fn absolute(x: &Dim) -> Dim {
    if x.never_negative() {
        return x.clone();
    }
    x.max(&(&Dim::Size(0) - x))
}

impl Op for Map {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        self.takes.check(inputs)?;
        let elements = x.value.as_ref().map(|elements| {
            let mapped = elements.iter().map(|element| (self.value)(element));
            mapped.map(|element| fit(x.dtype, element)).collect()
        });
        Ok(vec![with_value(x.clone(), elements)])
    }
}

/// `IsNaN`, `IsInf`: a float type of any width in, bool out.
struct Classify;

fn classify(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Classify))
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
}

/// `Identity` takes whatever a value can be.
struct Identity;

impl Op for Identity {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![inputs.need(0)?.clone()])
    }
}

/// `min(max(x, low), high)`; the bounds are attributes before version 11, then scalar inputs.
struct Clip;

impl Op for Clip {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        Takes::Numbers.check(inputs)?;
        let dtype = same_dtype(inputs, 0..3)?;
        for bound in 1..3 {
            if let Some(Dim::Size(n)) = inputs.shape(bound).map(|shape| shape.elements())
                && n != 1
            {
                let why = format!("bound in input {bound} has {n} elements, expected one");
                return Err(Error::shape("", why));
            }
        }
        let bound = |idx: usize| match inputs.get(idx) {
            None => Some(None),
            Some(_) => inputs
                .ints(idx)?
                .first()
                .map(|&bound| Some(Dim::Size(bound))),
        };
        let value = match (&x.value, bound(1), bound(2)) {
            (Some(elements), Some(low), Some(high)) => {
                let clip = |element: &Dim| {
                    let raised = low
                        .as_ref()
                        .map_or_else(|| element.clone(), |low| element.max(low));
                    high.as_ref()
                        .map_or_else(|| raised.clone(), |high| raised.min(high))
                };
                Some(elements.iter().map(clip).collect())
            }
            _ => None,
        };
        let y = Fact { dtype, ..x.clone() };
        Ok(vec![with_value(y, value)])
    }
}

/// `Dropout` gives the output and, if asked, the mask of what it kept.
struct Dropout {
    bool_mask: bool,
}

impl Op for Dropout {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        Takes::Floats.check(inputs)?;
        let y = Fact {
            kind: Kind::Tensor,
            value: None,
            ..x.clone()
        };
        let mask_dtype = if self.bool_mask {
            Some(DType::Bool)
        } else {
            x.dtype
        };
        let mask = Fact {
            dtype: mask_dtype,
            ..y.clone()
        };
        Ok(vec![y, mask])
    }
}
