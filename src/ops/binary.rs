//! Operators of several inputs that broadcast: `z[i] = f(x[i], y[i], ..)`.
//!
//! Before version 7 the second input is stretched to the first by the attributes `broadcast` and
//! `axis`, so the first one's shape is the output's.

use super::pointwise::{pointwise, pointwise_single};
use super::rules::{
    broadcast_inputs, expect_dtype, fact, fit, is_bool, is_number, onnx, same_dtype, tensor,
    with_value,
};
use super::{Attrs, Function, Inputs, Op, OpDef};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Kernel, Refusal};
use crate::tensor::{DType, Dim, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Add",
        |_, version| arithmetic(version, numbers("x + y"), |x, y| x + y),
        &[
            "input x: f32[n, 1, 3]\n input y: f32[4, 1]\n z = Add(x, y)\n output z: f32[n, 4, 3]",
            "input x: f32[2, ?]\n input y: f32[]\n z = Add(x, y)\n output z: f32[2, ?]",
            "opset 6\n input x: f32[2, 3, 4]\n input y: f32[3]\n z = Add(x, y) {axis = 1, broadcast = 1}\n output z: f32[2, 3, 4]",
            "input x: f32[n, 3]\n s = Shape(x)\n const one: i64[] = [1]\n t = Add(s, one)\n z = ConstantOfShape(t)\n output z: f32[(n + 1), 4]",
            "input x: f32[n, 3, 8]\n input y: f32[3, 1]\n z = Add(x, y)\n output z: f32[n, 3, 8]",
            "input x: f16[n, 3, 8]\n input y: f16[n, 1, 8]\n z = Add(x, y)\n output z: f16[n, 3, 8]",
            "input x: i64[n, 37]\n input y: i64[37]\n z = Add(x, y)\n output z: i64[n, 37]",
            "input x: f32[n, 131]\n input y: f32[n, 131]\n z = Add(x, y)\n output z: f32[n, 131]",
        ],
    ),
    onnx(
        "And",
        |_, version| logical(version, bools("x & y"), and),
        &[
            "input x: bool[n, 1]\n input y: bool[4]\n z = And(x, y)\n output z: bool[n, 4]",
            "input x: bool[n, 3, 8]\n input y: bool[3, 1]\n z = And(x, y)\n output z: bool[n, 3, 8]",
            "input x: bool[n, 7]\n input y: bool[n, 7]\n z = And(x, y)\n output z: bool[n, 7]",
        ],
    ),
    onnx(
        "BitShift",
        parse_bit_shift,
        &[
            "input x: u8[2, 3]\n input y: u8[1]\n z = BitShift(x, y) {direction = \"LEFT\"}\n output z: u8[2, 3]",
        ],
    ),
    onnx(
        "BitwiseAnd",
        |_, _| bitwise(ints("x & y")),
        &["input x: i32[2, 1]\n input y: i32[3]\n z = BitwiseAnd(x, y)\n output z: i32[2, 3]"],
    ),
    onnx(
        "BitwiseOr",
        |_, _| bitwise(ints("x | y")),
        &["input x: u64[n]\n input y: u64[n]\n z = BitwiseOr(x, y)\n output z: u64[n]"],
    ),
    onnx(
        "BitwiseXor",
        |_, _| bitwise(ints("x ^ y")),
        &["input x: i8[0]\n input y: i8[1]\n z = BitwiseXor(x, y)\n output z: i8[0]"],
    ),
    onnx(
        "Div",
        |_, version| arithmetic(version, numbers("x / y"), divide),
        &[
            "input x: f16[n, 3]\n input y: f16[n, 1]\n z = Div(x, y)\n output z: f16[n, 3]",
            "input x: f32[]\n const y: f32[1] = [4.0]\n z = Div(x, y)\n output z: f32[1]",
            "input x: f32[n]\n const y: f32[1, 1] = [4.0]\n z = Div(x, y)\n output z: f32[1, n]",
            "const x: i64[2] = [7, 9]\n const y: i64[] = [2]\n d = Div(x, y)\n z = ConstantOfShape(d)\n output z: f32[3, 4]",
            "input x: f32[n, 9]\n s = Shape(x)\n const two: i64[1] = [2]\n t = Div(s, two)\n z = ConstantOfShape(t)\n output z: f32[(n / 2), 4]",
            "input x: i64[n, 5]\n const y: i64[5] = [-3, -2, -1, 2, 3]\n z = Div(x, y)\n output z: i64[n, 5]",
        ],
    ),
    onnx(
        "Equal",
        |_, version| compare(version, Takes::Any, any("x == y"), equal),
        &[
            "input x: str[n]\n input y: str[1]\n z = Equal(x, y)\n output z: bool[n]",
            "opset 6\n input x: i64[2, 3]\n input y: i64[3]\n z = Equal(x, y) {broadcast = 1}\n output z: bool[2, 3]",
            "input x: i32[n, 5]\n input y: i32[n, 1]\n z = Equal(x, y)\n output z: bool[n, 5]",
            "input x: bool[n, 5]\n input y: bool[]\n z = Equal(x, y)\n output z: bool[n, 5]",
        ],
    ),
    onnx(
        "Greater",
        |_, version| compare(version, Takes::Numbers, numbers("x > y"), |x, y| less(y, x)),
        &[
            "input x: f32[n, 3]\n input y: f32[3]\n z = Greater(x, y)\n output z: bool[n, 3]",
            "input x: f32[n, 3, 8]\n input y: f32[3, 1]\n z = Greater(x, y)\n output z: bool[n, 3, 8]",
        ],
    ),
    onnx(
        "GreaterOrEqual",
        |_, version| {
            compare(version, Takes::Numbers, numbers("x >= y"), |x, y| {
                not(&less(x, y))
            })
        },
        &["input x: f32[n, 3]\n input y: f32[3]\n z = GreaterOrEqual(x, y)\n output z: bool[n, 3]"],
    ),
    onnx(
        "Less",
        |_, version| compare(version, Takes::Numbers, numbers("x < y"), less),
        &[
            "input x: i64[n]\n input y: i64[]\n z = Less(x, y)\n output z: bool[n]",
            "input x: f16[n, 5]\n input y: f16[n, 5]\n z = Less(x, y)\n output z: bool[n, 5]",
        ],
    ),
    onnx(
        "LessOrEqual",
        |_, version| {
            compare(version, Takes::Numbers, numbers("x <= y"), |x, y| {
                not(&less(y, x))
            })
        },
        &["input x: i64[n]\n input y: i64[]\n z = LessOrEqual(x, y)\n output z: bool[n]"],
    ),
    onnx(
        "Mod",
        parse_mod,
        &[
            "input x: i64[n]\n input y: i64[1]\n z = Mod(x, y)\n output z: i64[n]",
            "const x: i64[2] = [-7, 7]\n const y: i64[] = [4]\n d = Mod(x, y)\n z = ConstantOfShape(d)\n output z: f32[1, 3]",
            "input x: f32[n, 6]\n const y: f32[6] = [0.3, -0.3, 0.5, -0.5, 0.001, 7.0]\n z = Mod(x, y) {fmod = 1}\n output z: f32[n, 6]",
            "input x: i32[n, 4]\n const y: i32[4] = [-3, -2, 2, 3]\n const two: i32[] = [2]\n s = Sub(x, two)\n z = Mod(s, y)\n output z: i32[n, 4]",
            "input x: i32[n, 4]\n const y: i32[4] = [-3, -2, 2, 3]\n const two: i32[] = [2]\n s = Sub(x, two)\n z = Mod(s, y) {fmod = 1}\n output z: i32[n, 4]",
        ],
    ),
    onnx(
        "Mul",
        |_, version| arithmetic(version, numbers("x * y"), |x, y| x * y),
        &[
            "input x: f32[2, 3]\n input y: f32[]\n z = Mul(x, y)\n output z: f32[2, 3]",
            "input x: f32[2, 3]\n input y: f32\n z = Mul(x, y)\n output z: f32",
        ],
    ),
    onnx(
        "Or",
        |_, version| logical(version, bools("x | y"), |x, y| not(&and(&not(x), &not(y)))),
        &["input x: bool[]\n input y: bool[]\n z = Or(x, y)\n output z: bool[]"],
    ),
    onnx(
        "Sub",
        |_, version| arithmetic(version, numbers("x - y").borrowing(), |x, y| x - y),
        &[
            "input x: f64[n]\n input y: f64[m]\n z = Sub(x, y)\n output z: f64[?]",
            "input x: f32[n, 3]\n s = Shape(x)\n const y: i64[2] = [0, 1]\n t = Sub(s, y)\n z = ConstantOfShape(t)\n output z: f32[n, 2]",
            "input x: f32[]\n input y: f32[n, 5]\n z = Sub(x, y)\n output z: f32[n, 5]",
        ],
    ),
    onnx(
        "Xor",
        |_, version| logical(version, bools("x != y"), |x, y| not(&equal(x, y))),
        &["input x: bool[2, 1]\n input y: bool[1, 3]\n z = Xor(x, y)\n output z: bool[2, 3]"],
    ),
];

#[derive(Clone, Copy)]
enum Takes {
    Integers,
    Numbers,
    Bools,
    Any,
}

impl Takes {
    fn check(self, inputs: &Inputs, idx: usize) -> Result<()> {
        match self {
            Takes::Integers => expect_dtype(inputs, idx, DType::is_int, "an integer type"),
            Takes::Numbers => expect_dtype(inputs, idx, is_number, "a number type"),
            Takes::Bools => expect_dtype(inputs, idx, is_bool, "bool"),
            Takes::Any => Ok(()),
        }
    }
}

/// WGSL of `x` and `y` for the types that kernels compute with; empty where there is none.
#[derive(Clone, Copy)]
struct Code {
    real: &'static str,
    signed: &'static str,
    unsigned: &'static str,
    bools: &'static str,
    /// Functions that `real` calls, which are for single values.
    functions: &'static str,
    /// A result of u64 may have bits above those that kernels keep, though its operands have not.
    is_wide: bool,
}

impl Code {
    /// Below zero u64 goes on at 2^64.
    const fn borrowing(self) -> Code {
        Code {
            is_wide: true,
            ..self
        }
    }
}

const NO_CODE: Code = Code {
    real: "",
    signed: "",
    unsigned: "",
    bools: "",
    functions: "",
    is_wide: false,
};

const fn any(text: &'static str) -> Code {
    Code {
        real: text,
        signed: text,
        unsigned: text,
        bools: text,
        ..NO_CODE
    }
}

const fn numbers(text: &'static str) -> Code {
    Code {
        bools: "",
        ..any(text)
    }
}

const fn ints(text: &'static str) -> Code {
    Code {
        real: "",
        ..numbers(text)
    }
}

const fn bools(text: &'static str) -> Code {
    Code {
        bools: text,
        ..NO_CODE
    }
}

#[derive(Clone, Copy)]
enum Gives {
    /// The type that both inputs must have.
    Same,
    /// The first input's type; the second may have another.
    First,
    /// Both inputs have one type, the output is bool.
    Bool,
}

/// x, y: any shapes that broadcast -> their broadcast shape.
struct Binary {
    /// The output has the first input's shape.
    legacy: bool,
    takes: Takes,
    gives: Gives,
    code: Code,
    /// The function on two integer elements.
    value: Fold,
}

pub(super) type Fold = fn(&Dim, &Dim) -> Dim;

fn binary(
    legacy: bool,
    takes: Takes,
    gives: Gives,
    code: Code,
    value: Fold,
) -> Result<Box<dyn Op>> {
    Ok(Box::new(Binary {
        legacy,
        takes,
        gives,
        code,
        value,
    }))
}

/// The rule of `Pow` for shapes and types.
pub(super) fn power_rule(version: i64) -> Result<Box<dyn Op>> {
    let gives = if version < 12 {
        Gives::Same
    } else {
        Gives::First
    };
    binary(version < 7, Takes::Numbers, gives, NO_CODE, |_, _| {
        Dim::Unknown
    })
}

fn arithmetic(version: i64, code: Code, value: Fold) -> Result<Box<dyn Op>> {
    binary(version < 7, Takes::Numbers, Gives::Same, code, value)
}

fn logical(version: i64, code: Code, value: Fold) -> Result<Box<dyn Op>> {
    binary(version < 7, Takes::Bools, Gives::Bool, code, value)
}

fn compare(version: i64, takes: Takes, code: Code, value: Fold) -> Result<Box<dyn Op>> {
    binary(version < 7, takes, Gives::Bool, code, value)
}

fn bitwise(code: Code) -> Result<Box<dyn Op>> {
    binary(false, Takes::Integers, Gives::Same, code, |_, _| {
        Dim::Unknown
    })
}

fn parse_bit_shift(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    // WGSL takes the count modulo 32.
    let unsigned = match attrs.str("direction") {
        Some("LEFT") => "select(x << (y & in0(31)), in0(0), y > in0(31))",
        Some("RIGHT") => "select(x >> (y & in0(31)), in0(0), y > in0(31))",
        _ => "",
    };
    bitwise(Code {
        unsigned,
        is_wide: unsigned.contains("<<"),
        ..NO_CODE
    })
}

fn parse_mod(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let (code, value): (_, Fold) = if attrs.int("fmod") == Some(1) {
        let code = Code {
            real: "remainder_of(x, y)",
            functions: include_str!("remainder.wgsl"),
            ..ints("x % y")
        };
        (code, remainder)
    } else {
        let code = Code {
            signed: "select(x % y, x % y + y, (x % y != in0(0)) & ((x < in0(0)) != (y < in0(0))))",
            ..ints("x % y")
        };
        (code, modulo)
    };
    binary(false, Takes::Numbers, Gives::Same, code, value)
}

impl Op for Binary {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, y) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        self.takes.check(inputs, 0)?;
        self.takes.check(inputs, 1)?;
        let dtype = match self.gives {
            Gives::First => x.dtype,
            Gives::Same => same_dtype(inputs, 0..2)?,
            Gives::Bool => {
                same_dtype(inputs, 0..2)?;
                Some(DType::Bool)
            }
        };
        if self.legacy {
            return Ok(vec![fact(dtype, x.shape.clone())]);
        }
        let shape = broadcast_inputs(inputs, 0..2)?;
        let value = fold(x.value.as_deref(), y.value.as_deref(), self.value);
        Ok(vec![with_value(fact(dtype, shape), fitted(dtype, value))])
    }

    fn function(&self, n_operands: usize) -> Option<Function> {
        let Code {
            real, functions, ..
        } = self.code;
        let is_own = n_operands == 2 && matches!(self.gives, Gives::Same) && !self.legacy;
        (is_own && !real.is_empty() && functions.is_empty()).then(|| Function {
            expression: real.to_owned(),
            functions: "",
        })
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if self.legacy {
            return Err("its form before version 7 has no kernel".into());
        }
        let (x, y, z) = (call.input(0)?, call.input(1)?, call.output(0)?);
        let code = &self.code;
        let (expression, functions) = match x.storage.value() {
            "f32" => (code.real, code.functions),
            "i32" => (code.signed, ""),
            "u32" => (code.unsigned, ""),
            _ => (code.bools, ""),
        };
        if expression.is_empty() || (code.is_wide && call.input_dtype(0) == Some(DType::U64)) {
            return Err("no kernel for its type".into());
        }
        let apply =
            format!("{functions}fn apply(x: in0, y: in1) -> out {{ return {expression}; }}");
        let kernel = Kernel::new("binary", &apply);
        let operands = [(x, call.sizes(0)), (y, call.sizes(1))];
        let z = (z, call.output_sizes(0));
        let launch = if functions.is_empty() {
            pointwise(kernel, &operands, z, call.caps)
        } else {
            pointwise_single(kernel, &operands, z, call.caps)
        };
        Ok(Dispatch::one(launch))
    }
}

/// The function on two lists of elements, of which one may be a single element.
pub(super) fn fold(x: Option<&[Dim]>, y: Option<&[Dim]>, function: Fold) -> Option<Vec<Dim>> {
    let (x, y) = (x?, y?);
    match (x, y) {
        _ if x.len() == y.len() => Some(x.iter().zip(y).map(|(x, y)| function(x, y)).collect()),
        ([x], y) => Some(y.iter().map(|y| function(x, y)).collect()),
        (x, [y]) => Some(x.iter().map(|x| function(x, y)).collect()),
        _ => None,
    }
}

pub(super) fn fitted(dtype: Option<DType>, value: Option<Vec<Dim>>) -> Option<Vec<Dim>> {
    Some(
        value?
            .into_iter()
            .map(|element| fit(dtype, element))
            .collect(),
    )
}

/// Integer division rounds towards zero, which is the floor only where nothing is negative.
fn divide(x: &Dim, y: &Dim) -> Dim {
    match (x, y) {
        (Dim::Size(x), Dim::Size(y)) => x.checked_div(*y).map_or(Dim::Unknown, Dim::Size),
        _ if x.never_negative() && y.never_negative() => x.floor_div(y),
        _ => Dim::Unknown,
    }
}

/// `x - y * floor(x / y)`: the sign is the divisor's.
fn modulo(x: &Dim, y: &Dim) -> Dim {
    x - &(y * &x.floor_div(y))
}

/// `x - y * trunc(x / y)`: the sign is the dividend's.
fn remainder(x: &Dim, y: &Dim) -> Dim {
    x - &(y * &divide(x, y))
}

fn truth(known: bool) -> Dim {
    Dim::Size(i64::from(known))
}

fn equal(x: &Dim, y: &Dim) -> Dim {
    match (x, y) {
        (Dim::Unknown, _) | (_, Dim::Unknown) => Dim::Unknown,
        (Dim::Size(x), Dim::Size(y)) => truth(x == y),
        _ if x == y => truth(true),
        (Dim::Size(n), other) | (other, Dim::Size(n)) if *n < 0 && other.never_negative() => {
            truth(false)
        }
        _ => Dim::Unknown,
    }
}

fn less(x: &Dim, y: &Dim) -> Dim {
    match (x, y) {
        (Dim::Unknown, _) | (_, Dim::Unknown) => Dim::Unknown,
        (Dim::Size(x), Dim::Size(y)) => truth(x < y),
        (Dim::Size(n), other) if *n < 0 && other.never_negative() => truth(true),
        (other, Dim::Size(n)) if *n <= 0 && other.never_negative() => truth(false),
        _ if x == y => truth(false),
        _ => Dim::Unknown,
    }
}

fn not(x: &Dim) -> Dim {
    &Dim::Size(1) - x
}

fn and(x: &Dim, y: &Dim) -> Dim {
    match (x, y) {
        (Dim::Size(0), _) | (_, Dim::Size(0)) => truth(false),
        (Dim::Size(_), other) | (other, Dim::Size(_)) => other.clone(),
        _ => Dim::Unknown,
    }
}
