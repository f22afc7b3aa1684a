//! Operators of several inputs that broadcast: `z[i] = f(x[i], y[i], ..)`.
//!
//! Before version 7 the second input is stretched to the first by the attributes `broadcast` and
//! `axis`, so the first one's shape is the output's.

use super::rules::{
    broadcast, broadcast_inputs, expect_dtype, fact, fit, is_bool, is_number, onnx, same_dtype,
    tensor, unify_shapes, with_value,
};
use super::{Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Add",
        |_, version| arithmetic(version, |x, y| x + y),
        &[
            "input x: f32[n, 1, 3]\n input y: f32[4, 1]\n z = Add(x, y)\n output z: f32[n, 4, 3]",
            "input x: f32[2, ?]\n input y: f32[]\n z = Add(x, y)\n output z: f32[2, ?]",
            "opset 6\n input x: f32[2, 3, 4]\n input y: f32[3]\n z = Add(x, y) {axis = 1, broadcast = 1}\n output z: f32[2, 3, 4]",
            "input x: f32[n, 3]\n s = Shape(x)\n const one: i64[] = [1]\n t = Add(s, one)\n z = ConstantOfShape(t)\n output z: f32[(n + 1), 4]",
        ],
    ),
    onnx(
        "And",
        |_, version| logical(version, and),
        &["input x: bool[n, 1]\n input y: bool[4]\n z = And(x, y)\n output z: bool[n, 4]"],
    ),
    onnx(
        "BitShift",
        |_, _| bitwise(),
        &[
            "input x: u8[2, 3]\n input y: u8[1]\n z = BitShift(x, y) {direction = \"LEFT\"}\n output z: u8[2, 3]",
        ],
    ),
    onnx(
        "BitwiseAnd",
        |_, _| bitwise(),
        &["input x: i32[2, 1]\n input y: i32[3]\n z = BitwiseAnd(x, y)\n output z: i32[2, 3]"],
    ),
    onnx(
        "BitwiseOr",
        |_, _| bitwise(),
        &["input x: u64[n]\n input y: u64[n]\n z = BitwiseOr(x, y)\n output z: u64[n]"],
    ),
    onnx(
        "BitwiseXor",
        |_, _| bitwise(),
        &["input x: i8[0]\n input y: i8[1]\n z = BitwiseXor(x, y)\n output z: i8[0]"],
    ),
    onnx(
        "Div",
        |_, version| arithmetic(version, divide),
        &[
            "input x: f16[n, 3]\n input y: f16[n, 1]\n z = Div(x, y)\n output z: f16[n, 3]",
            "const x: i64[2] = [7, 9]\n const y: i64[] = [2]\n d = Div(x, y)\n z = ConstantOfShape(d)\n output z: f32[3, 4]",
            "input x: f32[n, 9]\n s = Shape(x)\n const two: i64[1] = [2]\n t = Div(s, two)\n z = ConstantOfShape(t)\n output z: f32[(n / 2), 4]",
        ],
    ),
    onnx(
        "Equal",
        |_, version| compare(version, Takes::Any, equal),
        &[
            "input x: str[n]\n input y: str[1]\n z = Equal(x, y)\n output z: bool[n]",
            "opset 6\n input x: i64[2, 3]\n input y: i64[3]\n z = Equal(x, y) {broadcast = 1}\n output z: bool[2, 3]",
        ],
    ),
    onnx(
        "Greater",
        |_, version| compare(version, Takes::Numbers, |x, y| less(y, x)),
        &["input x: f32[n, 3]\n input y: f32[3]\n z = Greater(x, y)\n output z: bool[n, 3]"],
    ),
    onnx(
        "GreaterOrEqual",
        |_, version| compare(version, Takes::Numbers, |x, y| not(&less(x, y))),
        &["input x: f32[n, 3]\n input y: f32[3]\n z = GreaterOrEqual(x, y)\n output z: bool[n, 3]"],
    ),
    onnx(
        "Less",
        |_, version| compare(version, Takes::Numbers, less),
        &["input x: i64[n]\n input y: i64[]\n z = Less(x, y)\n output z: bool[n]"],
    ),
    onnx(
        "LessOrEqual",
        |_, version| compare(version, Takes::Numbers, |x, y| not(&less(y, x))),
        &["input x: i64[n]\n input y: i64[]\n z = LessOrEqual(x, y)\n output z: bool[n]"],
    ),
    onnx(
        "Max",
        |_, _| variadic(Takes::Numbers, |x, y| x.max(y)),
        &[
            "input x: f32[n, 1]\n input y: f32[3]\n input w: f32[2, 1, 1]\n z = Max(x, y, w)\n output z: f32[2, n, 3]",
            "input x: f32[4]\n z = Max(x)\n output z: f32[4]",
            "const x: i64[2] = [1, 5]\n const y: i64[] = [3]\n d = Max(x, y)\n z = ConstantOfShape(d)\n output z: f32[3, 5]",
        ],
    ),
    onnx(
        "Mean",
        |_, _| variadic(Takes::Floats, |_, _| Dim::Unknown),
        &["input x: f32[2, 1]\n input y: f32[3]\n z = Mean(x, y)\n output z: f32[2, 3]"],
    ),
    onnx(
        "Min",
        |_, _| variadic(Takes::Numbers, |x, y| x.min(y)),
        &["input x: i8[n]\n input y: i8[n]\n z = Min(x, y)\n output z: i8[n]"],
    ),
    onnx(
        "Mod",
        |attrs, _| {
            let value = if attrs.int("fmod") == Some(1) {
                remainder
            } else {
                modulo
            };
            binary(false, Takes::Numbers, Gives::Same, value)
        },
        &[
            "input x: i64[n]\n input y: i64[1]\n z = Mod(x, y)\n output z: i64[n]",
            "const x: i64[2] = [-7, 7]\n const y: i64[] = [4]\n d = Mod(x, y)\n z = ConstantOfShape(d)\n output z: f32[1, 3]",
        ],
    ),
    onnx(
        "Mul",
        |_, version| arithmetic(version, |x, y| x * y),
        &[
            "input x: f32[2, 3]\n input y: f32[]\n z = Mul(x, y)\n output z: f32[2, 3]",
            "input x: f32[2, 3]\n input y: f32\n z = Mul(x, y)\n output z: f32",
        ],
    ),
    onnx(
        "Or",
        |_, version| logical(version, |x, y| not(&and(&not(x), &not(y)))),
        &["input x: bool[]\n input y: bool[]\n z = Or(x, y)\n output z: bool[]"],
    ),
    onnx(
        "PRelu",
        |_, version| {
            Ok(Box::new(PRelu {
                stretches: version >= 7,
            }))
        },
        &[
            "input x: f32[n, 3, 4]\n input slope: f32[3, 1]\n z = PRelu(x, slope)\n output z: f32[n, 3, 4]",
            "opset 6\n input x: f32[2, 3, 4]\n input slope: f32[3]\n z = PRelu(x, slope)\n output z: f32[2, 3, 4]",
        ],
    ),
    onnx(
        "Pow",
        |_, version| {
            let takes = Takes::Numbers;
            let gives = if version < 12 {
                Gives::Same
            } else {
                Gives::First
            };
            binary(version < 7, takes, gives, |_, _| Dim::Unknown)
        },
        &[
            "input x: f32[n, 3]\n input y: i64[]\n z = Pow(x, y)\n output z: f32[n, 3]",
            "opset 7\n input x: f32[2, 1]\n input y: f32[3]\n z = Pow(x, y)\n output z: f32[2, 3]",
        ],
    ),
    onnx(
        "Sub",
        |_, version| arithmetic(version, |x, y| x - y),
        &[
            "input x: f64[n]\n input y: f64[m]\n z = Sub(x, y)\n output z: f64[?]",
            "input x: f32[n, 3]\n s = Shape(x)\n const y: i64[2] = [0, 1]\n t = Sub(s, y)\n z = ConstantOfShape(t)\n output z: f32[n, 2]",
        ],
    ),
    onnx(
        "Sum",
        |_, _| variadic(Takes::Numbers, |x, y| x + y),
        &[
            "input x: f32[2, 1]\n input y: f32[3]\n input w: f32[]\n z = Sum(x, y, w)\n output z: f32[2, 3]",
        ],
    ),
    onnx(
        "SwiGLU",
        |_, _| Ok(Box::new(SwiGlu)),
        &[
            "opset 28\n input a: f32[n, 8]\n input b: f32[?, 8]\n y = SwiGLU(a, b)\n output y: f32[n, 8]",
        ],
    ),
    onnx(
        "Where",
        |_, _| Ok(Box::new(Where)),
        &[
            "input c: bool[n, 1]\n input x: f32[]\n input y: f32[3]\n z = Where(c, x, y)\n output z: f32[n, 3]",
            "input v: f32[n, 5]\n s = Shape(v)\n const minus: i64[] = [-1]\n c = Equal(s, minus)\n const ones: i64[2] = [1, 1]\n t = Where(c, ones, s)\n z = ConstantOfShape(t)\n output z: f32[n, 5]",
        ],
    ),
    onnx(
        "Xor",
        |_, version| logical(version, |x, y| not(&equal(x, y))),
        &["input x: bool[2, 1]\n input y: bool[1, 3]\n z = Xor(x, y)\n output z: bool[2, 3]"],
    ),
];

#[derive(Clone, Copy)]
enum Takes {
    Floats,
    Integers,
    Numbers,
    Bools,
    Any,
}

impl Takes {
    fn check(self, inputs: &Inputs, idx: usize) -> Result<()> {
        match self {
            Takes::Floats => expect_dtype(inputs, idx, DType::is_float, "a float type"),
            Takes::Integers => expect_dtype(inputs, idx, DType::is_int, "an integer type"),
            Takes::Numbers => expect_dtype(inputs, idx, is_number, "a number type"),
            Takes::Bools => expect_dtype(inputs, idx, is_bool, "bool"),
            Takes::Any => Ok(()),
        }
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
    /// The function on two integer elements.
    value: Fold,
}

type Fold = fn(&Dim, &Dim) -> Dim;

fn binary(legacy: bool, takes: Takes, gives: Gives, value: Fold) -> Result<Box<dyn Op>> {
    Ok(Box::new(Binary {
        legacy,
        takes,
        gives,
        value,
    }))
}

fn arithmetic(version: i64, value: Fold) -> Result<Box<dyn Op>> {
    binary(version < 7, Takes::Numbers, Gives::Same, value)
}

fn logical(version: i64, value: Fold) -> Result<Box<dyn Op>> {
    binary(version < 7, Takes::Bools, Gives::Bool, value)
}

fn compare(version: i64, takes: Takes, value: Fold) -> Result<Box<dyn Op>> {
    binary(version < 7, takes, Gives::Bool, value)
}

fn bitwise() -> Result<Box<dyn Op>> {
    binary(false, Takes::Integers, Gives::Same, |_, _| Dim::Unknown)
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
}

/// The function on two lists of elements, of which one may be a single element.
fn fold(x: Option<&[Dim]>, y: Option<&[Dim]>, function: Fold) -> Option<Vec<Dim>> {
    let (x, y) = (x?, y?);
    match (x, y) {
        _ if x.len() == y.len() => Some(x.iter().zip(y).map(|(x, y)| function(x, y)).collect()),
        ([x], y) => Some(y.iter().map(|y| function(x, y)).collect()),
        (x, [y]) => Some(x.iter().map(|x| function(x, y)).collect()),
        _ => None,
    }
}

fn fitted(dtype: Option<DType>, value: Option<Vec<Dim>>) -> Option<Vec<Dim>> {
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

/// `Max`, `Min`, `Sum` and `Mean` of one input or more. Before version 8 the shapes are equal,
/// which is a case of broadcasting.
struct Variadic {
    takes: Takes,
    value: Fold,
}

fn variadic(takes: Takes, value: Fold) -> Result<Box<dyn Op>> {
    Ok(Box::new(Variadic { takes, value }))
}

impl Op for Variadic {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let idxs = 0..inputs.facts.len();
        let mut value = tensor(inputs, 0)?.value.clone();
        for idx in idxs.clone() {
            let x = tensor(inputs, idx)?;
            self.takes.check(inputs, idx)?;
            if idx > 0 {
                value = fold(value.as_deref(), x.value.as_deref(), self.value);
            }
        }
        let dtype = same_dtype(inputs, idxs.clone())?;
        let shape = broadcast_inputs(inputs, idxs)?;
        Ok(vec![with_value(fact(dtype, shape), fitted(dtype, value))])
    }
}

/// x: any shape, slope: broadcasts to x -> the shape of x. Before version 7 the slope has one
/// element or one per channel.
struct PRelu {
    stretches: bool,
}

impl Op for PRelu {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, slope) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let dtype = same_dtype(inputs, 0..2)?;
        if let (Some(x), Some(slope), true) = (&x.shape, &slope.shape, self.stretches) {
            let grows = |(x, both): (&Dim, &Dim)| x.is_known() && both.is_known() && x != both;
            let both = broadcast(x, slope)?;
            if both.rank() > x.rank() || x.iter().zip(both.iter()).any(grows) {
                let why = format!("slope {slope} does not broadcast to {x}");
                return Err(Error::shape("", why));
            }
        }
        Ok(vec![fact(dtype, x.shape.clone())])
    }
}

/// a, b: the same shape -> that shape.
struct SwiGlu;

impl Op for SwiGlu {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        Takes::Floats.check(inputs, 0)?;
        let dtype = same_dtype(inputs, 0..2)?;
        let shape = unify_shapes(a.shape.as_ref(), b.shape.as_ref(), "gate and value")?;
        Ok(vec![fact(dtype, shape)])
    }
}

/// `z = condition ? x : y`; all three broadcast.
struct Where;

impl Op for Where {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (condition, x, y) = (tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?);
        Takes::Bools.check(inputs, 0)?;
        let dtype = same_dtype(inputs, 1..3)?;
        let shape = broadcast_inputs(inputs, 0..3)?;
        let n_elements = shape.as_ref().and_then(|shape| shape.elements().size());
        let choice = n_elements.and_then(|n_elements| {
            let (condition, x, y) = (
                condition.value.as_ref()?,
                x.value.as_ref()?,
                y.value.as_ref()?,
            );
            let at = |list: &[Dim], idx: usize| match list {
                [one] => Some(one.clone()),
                list => list.get(idx).cloned(),
            };
            let choose = |idx: usize| {
                let (x, y) = (at(x, idx)?, at(y, idx)?);
                Some(match at(condition, idx)? {
                    Dim::Size(0) => y,
                    Dim::Size(_) => x,
                    _ if x == y => x,
                    _ => Dim::Unknown,
                })
            };
            (0..n_elements).map(choose).collect()
        });
        Ok(vec![with_value(fact(dtype, shape), choice)])
    }
}
