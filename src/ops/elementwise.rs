//! Operators of one input that keep its shape: `y[i] = f(x[i])`.

use super::activation::{self, literal};
use super::pointwise::pointwise;
use super::rules::{expect_dtype, fit, is_bool, is_number, onnx, tensor, with_value};
use super::{Attrs, Function, Inputs, Op, OpDef};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Kernel, Refusal, Storage};
use crate::tensor::{DType, Dim, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Abs",
        |_, _| numbers("abs(x)", "abs(x)", absolute),
        &[
            "input x: i8[2, n]\n y = Abs(x)\n output y: i8[2, n]",
            "const x: i64[2] = [-3, 4]\n y = Abs(x)\n z = ConstantOfShape(y)\n output z: f32[3, 4]",
            "input x: i64[n, 5]\n y = Abs(x)\n output y: i64[n, 5]",
            "input x: f32[n, 131]\n y = Abs(x)\n output y: f32[n, 131]",
        ],
    ),
    onnx(
        "Acos",
        |_, _| accurate("acos_of(x)"),
        &[
            "input x: f32[n]\n y = Acos(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const one: f32[] = [1.0]\n a = Abs(x)\n h = Mul(a, a)\n z = Acos(h)\n y = Add(z, one)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Acosh",
        |_, _| accurate("acosh_of(x)"),
        &[
            "input x: f64[]\n y = Acosh(x)\n output y: f64[]",
            "input x: f32[n, 7]\n const one: f32[] = [1.0]\n a = Abs(x)\n h = Mul(a, a)\n z = Acosh(h)\n y = Add(z, one)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Asin",
        |_, _| accurate("asin_of(x)"),
        &[
            "input x: f16[0, 3]\n y = Asin(x)\n output y: f16[0, 3]",
            "input x: f32[n, 7]\n const one: f32[] = [1.0]\n a = Abs(x)\n h = Mul(a, a)\n z = Asin(h)\n y = Add(z, one)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Asinh",
        |_, _| accurate("asinh_of(x)"),
        &[
            "input x: f32[n]\n y = Asinh(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [100000.0]\n z = Mul(x, big)\n y = Asinh(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Atan",
        |_, _| accurate("atan_of(x)"),
        &[
            "input x: bf16[n]\n y = Atan(x)\n output y: bf16[n]",
            "input x: f32[n, 7]\n const big: f32[] = [40.0]\n z = Mul(x, big)\n y = Atan(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Atanh",
        |_, _| accurate("atanh_of(x)"),
        &[
            "input x: f32\n y = Atanh(x)\n output y: f32",
            "input x: f32[n, 7]\n const one: f32[] = [1.0]\n a = Abs(x)\n h = Mul(a, a)\n z = Atanh(h)\n y = Add(z, one)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "BitwiseNot",
        |_, _| integers("~x"),
        &["input x: u16[3]\n y = BitwiseNot(x)\n output y: u16[3]"],
    ),
    onnx(
        "Ceil",
        |_, _| floats("ceil(x)"),
        &["input x: f32[(n * 2)]\n y = Ceil(x)\n output y: f32[(n * 2)]"],
    ),
    onnx(
        "Celu",
        parse_celu,
        &["input x: f32[2]\n y = Celu(x) {alpha = 2.0}\n output y: f32[2]"],
    ),
    onnx(
        "Cos",
        |_, _| accurate("cos_of(x)"),
        &[
            "input x: f32[n]\n y = Cos(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [100.0]\n z = Mul(x, big)\n y = Cos(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Cosh",
        |_, _| accurate("cosh_of(x)"),
        &["input x: f32[n]\n y = Cosh(x)\n output y: f32[n]"],
    ),
    onnx(
        "Elu",
        |attrs, _| activation(attrs, "Elu", &[("alpha", 1.0)]),
        &["input x: f32[n]\n y = Elu(x) {alpha = 0.5}\n output y: f32[n]"],
    ),
    onnx(
        "Erf",
        |_, _| numbers("erf_of(x)", "", |_| Dim::Unknown),
        &[
            "input x: f32[n]\n y = Erf(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [8.0]\n z = Mul(x, big)\n y = Erf(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Exp",
        |attrs, _| activation(attrs, "Exp", &[]),
        &["input x: f32[n]\n y = Exp(x)\n output y: f32[n]"],
    ),
    onnx(
        "Floor",
        |_, _| floats("floor(x)"),
        &["input x: f32[n]\n y = Floor(x)\n output y: f32[n]"],
    ),
    onnx(
        "Gelu",
        parse_gelu,
        &[
            "input x: f32[n]\n y = Gelu(x) {approximate = \"tanh\"}\n output y: f32[n]",
            "input x: f16[n, 37]\n y = Gelu(x)\n output y: f16[n, 37]",
            "input x: f32[n, 7]\n const big: f32[] = [10.0]\n z = Mul(x, big)\n y = Gelu(z)\n output y: f32[n, 7]",
        ],
    ),
    microsoft(
        "Gelu",
        parse_gelu,
        &[
            "opset com.microsoft 1\n input x: f32[n]\n y = com.microsoft::Gelu(x)\n output y: f32[n]",
        ],
    ),
    onnx(
        "HardSigmoid",
        |attrs, _| activation(attrs, "HardSigmoid", &[("alpha", 0.2), ("beta", 0.5)]),
        &[
            "input x: f32[n]\n y = HardSigmoid(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n y = HardSigmoid(x) {alpha = 0.6, beta = 0.4}\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "HardSwish",
        |attrs, _| activation(attrs, "HardSwish", &[]),
        &["input x: f32[n]\n y = HardSwish(x)\n output y: f32[n]"],
    ),
    onnx(
        "LeakyRelu",
        |attrs, _| activation(attrs, "LeakyRelu", &[("alpha", 0.01)]),
        &[
            "input x: f32[n]\n y = LeakyRelu(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n y = LeakyRelu(x) {alpha = -0.5}\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Log",
        |_, _| accurate("log_of(x)"),
        &[
            "input x: f32[n]\n y = Log(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const one: f32[] = [1.0]\n a = Abs(x)\n h = Mul(a, a)\n z = Log(h)\n y = Add(z, one)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Mish",
        |attrs, _| activation(attrs, "Mish", &[]),
        &[
            "input x: f32[n]\n y = Mish(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [60.0]\n z = Mul(x, big)\n y = Mish(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Neg",
        |_, _| numbers("-x", "-x", |x| &Dim::Size(0) - x),
        &[
            "input x: i32[]\n y = Neg(x)\n output y: i32[]",
            "const x: i64[1] = [-3]\n y = Neg(x)\n z = ConstantOfShape(y)\n output z: f32[3]",
            "input x: i8[n, 7]\n y = Neg(x)\n output y: i8[n, 7]",
        ],
    ),
    onnx(
        "Not",
        |_, _| bools("!x", |x| &Dim::Size(1) - x),
        &["input x: bool[n, 2]\n y = Not(x)\n output y: bool[n, 2]"],
    ),
    microsoft(
        "QuickGelu",
        |attrs, _| activation(attrs, "Swish", &[("alpha", 1.702)]),
        &[
            "opset com.microsoft 1\n input x: f16[n]\n y = com.microsoft::QuickGelu(x)\n output y: f16[n]",
        ],
    ),
    onnx(
        "Reciprocal",
        |_, _| floats("1.0 / x"),
        &["input x: f32[n]\n y = Reciprocal(x)\n output y: f32[n]"],
    ),
    onnx(
        "Relu",
        |_, _| {
            numbers("max(x, real(0.0))", "max(x, int(0))", |x| {
                x.max(&Dim::Size(0))
            })
        },
        &[
            "input x: f32[1, c, (h * 2), ?]\n y = Relu(x)\n output y: f32[1, c, (h * 2), ?]",
            "opset 6\n input x: f32[0]\n y = Relu(x)\n output y: f32[0]",
            "input x: f16[n, 7]\n y = Relu(x)\n output y: f16[n, 7]",
        ],
    ),
    onnx(
        "Round",
        |_, _| floats("round(x)"),
        &[
            "input x: f32[n]\n y = Round(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const half: f32[] = [0.5]\n z = Round(x)\n h = Add(z, half)\n y = Round(h)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Selu",
        parse_selu,
        &[
            "input x: f32[n]\n y = Selu(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n y = Selu(x) {alpha = 2.0, gamma = 3.0}\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Shrink",
        parse_shrink,
        &[
            "input x: i32[n]\n y = Shrink(x) {bias = 1.0}\n output y: i32[n]",
            "input x: f32[n, 7]\n y = Shrink(x) {lambd = 0.75, bias = 0.25}\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Sigmoid",
        |attrs, _| activation(attrs, "Sigmoid", &[]),
        &[
            "input x: f32[n]\n y = Sigmoid(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [200.0]\n z = Mul(x, big)\n y = Sigmoid(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Sign",
        |_, _| numbers("sign(x)", SIGN, |_| Dim::Unknown),
        &[
            "input x: i64[n]\n y = Sign(x)\n output y: i64[n]",
            "input x: f32[n, 7]\n y = Sign(x)\n output y: f32[n, 7]",
            "input x: u8[n, 7]\n y = Sign(x)\n output y: u8[n, 7]",
        ],
    ),
    onnx(
        "Sin",
        |_, _| accurate("sin_of(x)"),
        &[
            "input x: f32[n]\n y = Sin(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [1000.0]\n z = Mul(x, big)\n y = Sin(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Sinh",
        |_, _| accurate("sinh_of(x)"),
        &[
            "input x: f32[n]\n y = Sinh(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [10.0]\n z = Mul(x, big)\n y = Sinh(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Softplus",
        |attrs, _| activation(attrs, "Softplus", &[]),
        &[
            "input x: f32[n]\n y = Softplus(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [200.0]\n z = Mul(x, big)\n y = Softplus(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Softsign",
        |_, _| floats("x / (1.0 + abs(x))"),
        &["input x: f32[n]\n y = Softsign(x)\n output y: f32[n]"],
    ),
    onnx(
        "Sqrt",
        |_, _| floats("sqrt(x)"),
        &[
            "input x: f32[n]\n y = Sqrt(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const one: f32[] = [1.0]\n a = Abs(x)\n h = Mul(a, a)\n z = Sqrt(h)\n y = Add(z, one)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "Swish",
        |attrs, _| activation(attrs, "Swish", &[("alpha", 1.0)]),
        &["opset 24\n input x: f32[n]\n y = Swish(x)\n output y: f32[n]"],
    ),
    onnx(
        "Tan",
        |_, _| accurate("tan_of(x)"),
        &["input x: f32[n]\n y = Tan(x)\n output y: f32[n]"],
    ),
    onnx(
        "Tanh",
        |attrs, _| activation(attrs, "Tanh", &[]),
        &[
            "input x: f32[n]\n y = Tanh(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n const big: f32[] = [20.0]\n z = Mul(x, big)\n y = Tanh(z)\n output y: f32[n, 7]",
        ],
    ),
    onnx(
        "ThresholdedRelu",
        parse_thresholded_relu,
        &[
            "input x: f32[n]\n y = ThresholdedRelu(x)\n output y: f32[n]",
            "input x: f32[n, 7]\n y = ThresholdedRelu(x) {alpha = 0.25}\n output y: f32[n, 7]",
        ],
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
struct Unary {
    takes: Takes,
    /// The function on one integer element; unknown where it is not worth following.
    value: fn(&Dim) -> Dim,
    /// WGSL of `x`, a `real`; empty where no kernel takes floats.
    real: String,
    /// Functions that `real` calls besides those of activations.
    functions: &'static str,
    /// WGSL of `x`, an `int`, or for bool a `bool`.
    int: &'static str,
}

impl Unary {
    fn new(takes: Takes, real: impl Into<String>) -> Unary {
        Unary {
            takes,
            value: |_| Dim::Unknown,
            real: real.into(),
            functions: "",
            int: "",
        }
    }
}

/// 1, 0 or -1, whether the type has negative numbers or not.
const SIGN: &str = "select(int(0), int(1), x > int(0)) - select(int(0), int(1), x < int(0))";

fn floats(real: impl Into<String>) -> Result<Box<dyn Op>> {
    Ok(Box::new(Unary::new(Takes::Floats, real)))
}

/// What WGSL's own functions may compute with a few digits only.
fn accurate(real: &str) -> Result<Box<dyn Op>> {
    Ok(Box::new(Unary {
        functions: include_str!("elementwise.wgsl"),
        ..Unary::new(Takes::Floats, real)
    }))
}

/// An activation whose parameters are attributes with defaults.
fn activation(attrs: &Attrs, name: &str, params: &[(&str, f32)]) -> Result<Box<dyn Op>> {
    let params = params.iter();
    let params = params.map(|&(name, default)| attrs.float(name).unwrap_or(default));
    let params: Vec<f32> = params.collect();
    floats(activation::expression(name, &params).unwrap_or_default())
}

fn numbers(real: &str, int: &'static str, value: fn(&Dim) -> Dim) -> Result<Box<dyn Op>> {
    Ok(Box::new(Unary {
        value,
        int,
        ..Unary::new(Takes::Numbers, real)
    }))
}

fn integers(int: &'static str) -> Result<Box<dyn Op>> {
    Ok(Box::new(Unary {
        int,
        ..Unary::new(Takes::Integers, "")
    }))
}

fn bools(int: &'static str, value: fn(&Dim) -> Dim) -> Result<Box<dyn Op>> {
    Ok(Box::new(Unary {
        value,
        int,
        ..Unary::new(Takes::Bools, "")
    }))
}

/// The expression with the parameters, or none where one of them is not finite.
fn with_params(params: &[f32], text: impl Fn(&[String]) -> String) -> String {
    if params.iter().any(|param| !param.is_finite()) {
        return String::new();
    }
    let literals: Vec<String> = params.iter().map(|&param| literal(param)).collect();
    text(&literals)
}

// alpha * elu(x / alpha)
fn parse_celu(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let alpha = attrs.float("alpha").unwrap_or(1.0);
    // The formula of the specification is another one where alpha is negative.
    if alpha <= 0.0 {
        return floats("");
    }
    floats(with_params(&[alpha], |p| {
        format!(
            "select({0} * below_zero_of(x / {0}), x, x > real(0.0))",
            p[0]
        )
    }))
}

fn parse_gelu(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let is_tanh = attrs.str("approximate") == Some("tanh");
    activation(attrs, if is_tanh { "GeluTanh" } else { "Gelu" }, &[])
}

fn parse_selu(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let alpha = attrs.float("alpha").unwrap_or(1.673_263_2);
    let gamma = attrs.float("gamma").unwrap_or(1.050_701);
    floats(with_params(&[alpha, gamma], |p| {
        format!(
            "{} * select({} * below_zero_of(x), x, x > real(0.0))",
            p[1], p[0]
        )
    }))
}

// x < -lambda ? x + bias : x > lambda ? x - bias : 0
fn parse_shrink(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let lambda = attrs.float("lambd").unwrap_or(0.5);
    let bias = attrs.float("bias").unwrap_or(0.0);
    let real = with_params(&[lambda, -lambda, bias], |p| {
        format!(
            "select(select(real(0.0), x - {bias}, x > real({})), x + {bias}, x < real({}))",
            p[0],
            p[1],
            bias = p[2]
        )
    });
    numbers(&real, "", |_| Dim::Unknown)
}

fn parse_thresholded_relu(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let alpha = attrs.float("alpha").unwrap_or(1.0);
    floats(with_params(&[alpha], |p| {
        format!("select(real(0.0), x, x > real({}))", p[0])
    }))
}

fn absolute(x: &Dim) -> Dim {
    if x.never_negative() {
        return x.clone();
    }
    x.max(&(&Dim::Size(0) - x))
}

impl Op for Unary {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        self.takes.check(inputs)?;
        let elements = x.value.as_ref().map(|elements| {
            let mapped = elements.iter().map(|element| (self.value)(element));
            mapped.map(|element| fit(x.dtype, element)).collect()
        });
        Ok(vec![with_value(x.clone(), elements)])
    }

    fn function(&self, n_operands: usize) -> Option<Function> {
        (n_operands == 1 && !self.real.is_empty()).then(|| Function {
            expression: self.real.clone(),
            functions: self.functions,
        })
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y) = (call.input(0)?, call.output(0)?);
        let expression = if x.storage.is_float() {
            &*self.real
        } else {
            self.int
        };
        if expression.is_empty() {
            return Err("no kernel for its type or parameters".into());
        }
        if call.input_dtype(0) == Some(DType::U64) {
            return Err("the high bits of 64 are not kept".into());
        }
        let apply = match x.storage {
            Storage::F32 | Storage::F16 => {
                let function = activation::function("apply", expression, "in0");
                format!("{}{function}", self.functions)
            }
            _ => format!("alias int = in0;\nfn apply(x: int) -> int {{ return {expression}; }}"),
        };
        let sizes = call.output_sizes(0);
        Ok(Dispatch::one(pointwise(
            Kernel::new("elementwise", &apply),
            &[(x, sizes.clone())],
            (y, sizes),
            call.caps,
        )))
    }
}
