//! Operators of one input that keep its shape: `y[i] = f(x[i])`.

use super::activation::{self, VEC4, literal};
use super::rules::{expect_dtype, fit, is_bool, is_number, onnx, same_dtype, tensor, with_value};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Map, Port, Refusal, Storage};
use crate::tensor::{DType, Dim, Fact, Kind, Tensor};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Abs",
        |_, _| numbers("abs(x)", "abs(x)", absolute),
        &[
            "input x: i8[2, n]\n y = Abs(x)\n output y: i8[2, n]",
            "const x: i64[2] = [-3, 4]\n y = Abs(x)\n z = ConstantOfShape(y)\n output z: f32[3, 4]",
        ],
    ),
    onnx(
        "Acos",
        |_, _| accurate("acos_of(x)"),
        &["input x: f32[n]\n y = Acos(x)\n output y: f32[n]"],
    ),
    onnx(
        "Acosh",
        |_, _| accurate("acosh_of(x)"),
        &["input x: f64[]\n y = Acosh(x)\n output y: f64[]"],
    ),
    onnx(
        "Asin",
        |_, _| accurate("asin_of(x)"),
        &["input x: f16[0, 3]\n y = Asin(x)\n output y: f16[0, 3]"],
    ),
    onnx(
        "Asinh",
        |_, _| accurate("asinh_of(x)"),
        &["input x: f32[n]\n y = Asinh(x)\n output y: f32[n]"],
    ),
    onnx(
        "Atan",
        |_, _| accurate("atan_of(x)"),
        &["input x: bf16[n]\n y = Atan(x)\n output y: bf16[n]"],
    ),
    onnx(
        "Atanh",
        |_, _| accurate("atanh_of(x)"),
        &["input x: f32\n y = Atanh(x)\n output y: f32"],
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
        |_, _| accurate("cos_of(x)"),
        &["input x: f32[n]\n y = Cos(x)\n output y: f32[n]"],
    ),
    onnx(
        "Cosh",
        |_, _| accurate("cosh_of(x)"),
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
        |attrs, _| activation(attrs, "Elu", &[("alpha", 1.0)]),
        &["input x: f32[n]\n y = Elu(x) {alpha = 0.5}\n output y: f32[n]"],
    ),
    onnx(
        "Erf",
        |_, _| numbers("erf_of(x)", "", |_| Dim::Unknown),
        &["input x: f32[n]\n y = Erf(x)\n output y: f32[n]"],
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
        &["input x: f32[n]\n y = Gelu(x) {approximate = \"tanh\"}\n output y: f32[n]"],
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
        &["input x: f32[n]\n y = HardSigmoid(x)\n output y: f32[n]"],
    ),
    onnx(
        "HardSwish",
        |attrs, _| activation(attrs, "HardSwish", &[]),
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
        parse_is_inf,
        &["input x: f32[n]\n y = IsInf(x)\n output y: bool[n]"],
    ),
    onnx(
        "IsNaN",
        parse_is_nan,
        &["input x: f8e5m2[n]\n y = IsNaN(x)\n output y: bool[n]"],
    ),
    onnx(
        "LeakyRelu",
        |attrs, _| activation(attrs, "LeakyRelu", &[("alpha", 0.01)]),
        &["input x: f32[n]\n y = LeakyRelu(x)\n output y: f32[n]"],
    ),
    onnx(
        "Log",
        |_, _| accurate("log_of(x)"),
        &["input x: f32[n]\n y = Log(x)\n output y: f32[n]"],
    ),
    onnx(
        "Mish",
        |attrs, _| activation(attrs, "Mish", &[]),
        &["input x: f32[n]\n y = Mish(x)\n output y: f32[n]"],
    ),
    onnx(
        "Neg",
        |_, _| numbers("-x", "-x", |x| &Dim::Size(0) - x),
        &[
            "input x: i32[]\n y = Neg(x)\n output y: i32[]",
            "const x: i64[1] = [-3]\n y = Neg(x)\n z = ConstantOfShape(y)\n output z: f32[3]",
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
        ],
    ),
    onnx(
        "Round",
        |_, _| floats("round(x)"),
        &["input x: f32[n]\n y = Round(x)\n output y: f32[n]"],
    ),
    onnx(
        "Selu",
        parse_selu,
        &["input x: f32[n]\n y = Selu(x)\n output y: f32[n]"],
    ),
    onnx(
        "Shrink",
        parse_shrink,
        &["input x: i32[n]\n y = Shrink(x) {bias = 1.0}\n output y: i32[n]"],
    ),
    onnx(
        "Sigmoid",
        |attrs, _| activation(attrs, "Sigmoid", &[]),
        &["input x: f32[n]\n y = Sigmoid(x)\n output y: f32[n]"],
    ),
    onnx(
        "Sign",
        |_, _| numbers("sign(x)", SIGN, |_| Dim::Unknown),
        &["input x: i64[n]\n y = Sign(x)\n output y: i64[n]"],
    ),
    onnx(
        "Sin",
        |_, _| accurate("sin_of(x)"),
        &["input x: f32[n]\n y = Sin(x)\n output y: f32[n]"],
    ),
    onnx(
        "Sinh",
        |_, _| accurate("sinh_of(x)"),
        &["input x: f32[n]\n y = Sinh(x)\n output y: f32[n]"],
    ),
    onnx(
        "Softplus",
        |attrs, _| activation(attrs, "Softplus", &[]),
        &["input x: f32[n]\n y = Softplus(x)\n output y: f32[n]"],
    ),
    onnx(
        "Softsign",
        |_, _| floats("x / (1.0 + abs(x))"),
        &["input x: f32[n]\n y = Softsign(x)\n output y: f32[n]"],
    ),
    onnx(
        "Sqrt",
        |_, _| floats("sqrt(x)"),
        &["input x: f32[n]\n y = Sqrt(x)\n output y: f32[n]"],
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
        &["input x: f32[n]\n y = Tanh(x)\n output y: f32[n]"],
    ),
    onnx(
        "ThresholdedRelu",
        parse_thresholded_relu,
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
        Ok(Dispatch::one(same_type(
            Kernel::new("elementwise", ""),
            x,
            y,
            call,
            |lanes| match x.storage {
                Storage::F32 | Storage::F16 => {
                    let function = activation::function("apply", expression, lanes);
                    format!("{}{function}", self.functions)
                }
                Storage::Bool => format!("fn apply(x: bool) -> bool {{ return {expression}; }}"),
                _ => format!(
                    "alias int = {lanes};\nfn apply(x: int) -> int {{ return {expression}; }}"
                ),
            },
        )))
    }
}

/// `y[i] = apply(x[i])` for x and y of one type: `apply` gets the type that it is to be written
/// for, a vector of four or for packed types a single value, and is WGSL of that.
fn same_type(
    kernel: Kernel,
    x: Port,
    y: Port,
    call: &Call,
    apply: impl Fn(&str) -> String,
) -> crate::kernel::Launch {
    let n_elems = call.output_sizes(0).iter().product();
    let value = x.storage.value();
    let kernel = kernel.snippet("fn element(i: u32) -> lanes { return apply(load_x(i)); }");
    if x.storage.is_packed() {
        let kernel = kernel.snippet(&format!("alias lanes = {value};"));
        let kernel = kernel.snippet(&apply(value)).read("x", x);
        return Map::launch(kernel, y, n_elems, call.caps);
    }
    let lanes = format!("vec4<{value}>");
    let kernel = kernel.snippet(&format!("alias lanes = {lanes};"));
    let kernel = kernel.snippet(&apply(&lanes)).read_vec4("x", x);
    Map::launch_vec4(kernel, y, n_elems, call.caps)
}

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
        let n_elems = call.sizes(0).iter().product();
        let body = format!(
            "fn element(i: u32) -> bool {{\n  let bits = bitcast<u32>(load_x(i));\n  return {};\n}}\n",
            self.is_one
        );
        let kernel = Map::kernel("classify", &body).read("x", x);
        Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
    }
}

/// `Identity` takes whatever a value can be.
struct Identity;

impl Op for Identity {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![inputs.need(0)?.clone()])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        call.input(0)?;
        Ok(Dispatch::view(0))
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

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y) = (call.input(0)?, call.output(0)?);
        let mut kernel = Kernel::new("clip", "");
        let mut expression = "x".to_owned();
        for (idx, name, function) in [(1, "low", "max"), (2, "high", "min")] {
            if !call.has_input(idx) {
                continue;
            }
            let bound = match call.constant(idx).map(|bound| numeric(bound, x.storage)) {
                Some(bound) => {
                    let (bound, wgsl) = (bound.ok_or("a bound is no number")?, x.storage.value());
                    kernel = match bound {
                        Bound::Float(bound) => kernel.param_f32(name, bound),
                        Bound::Int(bound) => kernel.param_i32(name, bound),
                    };
                    format!("{wgsl}(params.{name})")
                }
                None => {
                    kernel = kernel.read(name, call.input(idx)?);
                    format!("load_{name}(0u)")
                }
            };
            expression = format!("{function}({expression}, lanes({bound}))");
        }
        let launch = same_type(kernel, x, y, call, |_| {
            format!("fn apply(x: lanes) -> lanes {{ return {expression}; }}")
        });
        Ok(Dispatch::one(launch))
    }
}

enum Bound {
    Float(f32),
    Int(i32),
}

/// A bound that is constant, as an element of x. Integers beyond 32 bits bound nothing, and so
/// does the end of that range.
fn numeric(bound: &Tensor, storage: Storage) -> Option<Bound> {
    if storage.is_float() {
        return Some(Bound::Float(*bound.to_f64s()?.first()? as f32));
    }
    let bound = *bound.to_i64s()?.first()?;
    // Words of a u32 are those of the i32 that the parameter is.
    let word = match storage.value() {
        "u32" => (bound.clamp(0, u32::MAX.into()) as u32).cast_signed(),
        _ => bound.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
    };
    Some(Bound::Int(word))
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

    /// Outside of training it gives its input back.
    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if call.has_output(1) {
            return Err("no kernel for its mask".into());
        }
        if call.has_input(2) && call.ints(2)? != [0] {
            return Err("it is in training mode".into());
        }
        call.input(0)?;
        Ok(Dispatch::view(0))
    }
}
