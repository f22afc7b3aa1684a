//! Activations that are written out, and which activation a node is.

use super::pattern::Found;
use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::{Attr, Attrs};

type Make = fn(&Build, &Found) -> Formula;

/// Formulas of `x`, and what makes the operator that computes them.
const FORMULAS: &[(&str, Make)] = &[
    ("Div(Clip(Add(x, 3), 0, 6), 6)", hard_sigmoid),
    ("Mul(Clip(Add(x, 3), 0, 6), 0.166666667)", hard_sigmoid),
    ("Clip(Add(Mul(x, 0.166666667), 0.5), 0, 1)", hard_sigmoid),
    ("Clip(Add(Div(x, 6), 0.5), 0, 1)", hard_sigmoid),
    ("Mul(x, gate@HardSigmoid(x))", gated),
    ("Div(Mul(x, Clip(Add(x, 3), 0, 6)), 6)", hard_swish),
    (
        "Mul(Mul(x, Clip(Add(x, 3), 0, 6)), 0.166666667)",
        hard_swish,
    ),
    (
        "Mul(Mul(x, 0.166666667), Clip(Add(x, 3), 0, 6))",
        hard_swish,
    ),
    ("Mul(Div(x, 6), Clip(Add(x, 3), 0, 6))", hard_swish),
    ("Mul(x, Sigmoid(x))", swish),
    ("Mul(x, Sigmoid(Mul(x, alpha)))", swish),
    ("Mul(x, Tanh(Softplus(x)))", mish),
    ("Max(x, 0)", relu),
    ("Min(Max(x, low), high)", clip),
    ("Max(Min(x, high), low)", clip_from_above),
];

/// A formula that one operator computes.
pub(super) fn by_formula(b: &Build) -> Formula {
    let mut refusal = Skip::NoMatch;
    for (text, make) in FORMULAS {
        let made = b.find(text).and_then(|found| {
            b.expect_rank_of(found.value("x"))?;
            make(b, &found)
        });
        match made {
            Err(Skip::NoMatch) => (),
            Err(skip) => refusal = skip,
            made => return made,
        }
    }
    Err(refusal)
}

/// How x / 2 * bell is written.
const HALVES: &[&str] = &[
    "Mul([Mul(x, 0.5) | Div(x, 2)], BELL)",
    "Mul(x, [Mul(BELL, 0.5) | Div(BELL, 2)])",
    "Mul(Mul(x, BELL), 0.5)",
    "Div(Mul(x, BELL), 2)",
];

/// How 1 + erf(x / sqrt(2)) and 1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)) are written, and
/// `approximate`.
const BELLS: &[(&str, &str)] = &[
    (
        "Add(Erf([Div(x, 1.41421356) | Mul(x, 0.70710678)]), 1)",
        "none",
    ),
    (
        "Add(Tanh(Mul(Add(x, [Mul([Pow(x, 3) | Mul(x, Mul(x, x))], 0.044715)
            | Mul(Mul(x, 0.044715), Mul(x, x)) | Mul(Mul(Mul(x, 0.044715), x), x)]), 0.79788456)), 1)",
        "tanh",
    ),
    (
        "Add(Tanh(Mul(Mul(x, 0.79788456), Add([Mul([Mul(x, x) | Pow(x, 2)], 0.044715)
            | Mul(Mul(x, 0.044715), x)], 1))), 1)",
        "tanh",
    ),
];

// x / 2 * (1 + erf(x / sqrt(2))) -> gelu(x), and the form with tanh
pub(super) fn gelu(b: &Build) -> Formula {
    for half in HALVES {
        for (bell, approximate) in BELLS {
            let text = half.replace("BELL", bell);
            let Ok(found) = b.find(&text) else {
                continue;
            };
            let x = found.value("x");
            b.expect_rank_of(x)?;
            let approximate = ("approximate", Attr::Str(approximate.as_bytes().to_vec()));
            return Ok(b.op_with("Gelu", &[x], [approximate]));
        }
    }
    Err(Skip::NoMatch)
}

// clip(x + 3, 0, 6) / 6
fn hard_sigmoid(b: &Build, found: &Found) -> Formula {
    let (alpha, beta) = (Attr::Float(1.0 / 6.0), Attr::Float(0.5));
    let attrs = [("alpha", alpha), ("beta", beta)];
    Ok(b.op_with("HardSigmoid", &[found.value("x")], attrs))
}

// x * clip(x / 6 + 1/2, 0, 1)
fn hard_swish(b: &Build, found: &Found) -> Formula {
    Ok(b.op("HardSwish", &[found.value("x")]))
}

// x * hard_sigmoid(x) with the parameters that hard_swish has
fn gated(b: &Build, found: &Found) -> Formula {
    let gate = &b.found(found, "gate").attrs;
    let alpha = gate.float("alpha").unwrap_or(0.2);
    let beta = gate.float("beta").unwrap_or(0.5);
    if (alpha - 1.0 / 6.0).abs() > 1e-5 || (beta - 0.5).abs() > 1e-5 {
        return Err(Skip::Refused("the parameters are others"));
    }
    hard_swish(b, found)
}

// x * sigmoid(alpha * x)
fn swish(b: &Build, found: &Found) -> Formula {
    let mut attrs = Attrs::default();
    if let Some(alpha) = found.optional("alpha") {
        let alpha = b.number(alpha).ok_or(Skip::NoMatch)?;
        attrs.set("alpha", Attr::Float(alpha as f32));
    }
    Ok(b.op_attrs("Swish", &[found.value("x")], attrs))
}

fn mish(b: &Build, found: &Found) -> Formula {
    Ok(b.op("Mish", &[found.value("x")]))
}

fn relu(b: &Build, found: &Found) -> Formula {
    Ok(b.op("Relu", &[found.value("x")]))
}

// min(max(x, low), high)
fn clip(b: &Build, found: &Found) -> Formula {
    let [x, low, high] = ["x", "low", "high"].map(|name| found.value(name));
    bounds(b, low, high)?;
    Ok(b.op("Clip", &[x, scalar(b, low), scalar(b, high)]))
}

// max(min(x, high), low), which is the other order as long as low <= high
fn clip_from_above(b: &Build, found: &Found) -> Formula {
    let (low, high) = bounds(b, found.value("low"), found.value("high"))?;
    if low > high {
        return Err(Skip::Refused("the bounds are in the wrong order"));
    }
    clip(b, found)
}

fn bounds(b: &Build, low: ValueId, high: ValueId) -> Result<(f64, f64), Skip> {
    let bound = |value| b.number(value).ok_or(Skip::NoMatch);
    Ok((bound(low)?, bound(high)?))
}

/// A constant of one element as `Clip` takes it.
fn scalar(b: &Build, value: ValueId) -> ValueId {
    let tensor = b
        .graph
        .constant(value)
        .expect("the caller has seen its number");
    b.constant(tensor.reshaped(&[]).expect("it has one element"))
}

// clip(x, 0, inf) -> relu(x)
pub(super) fn clip_of_bounds(b: &Build) -> Formula {
    let found = b.find("Clip(x, 0, high?)")?;
    let high = found.optional("high").map(|high| b.number(high));
    if !matches!(high, None | Some(Some(f64::INFINITY))) {
        return Err(Skip::NoMatch);
    }
    relu(b, &found)
}

/// A node's activation under the names that kernels and [`expand`](crate::passes::expand) know, as
/// attributes of what computes it with something else.
pub(super) fn attributes(b: &Build) -> Result<Attrs, Skip> {
    let float = |name: &str, default: f32| b.node.attrs.float(name).unwrap_or(default);
    let (name, params) = match &*b.node.op.to_string() {
        name @ ("HardSwish" | "Mish" | "Relu" | "Sigmoid" | "Softplus" | "Tanh") => {
            (name.to_owned(), vec![])
        }
        "Clip" => ("Clip".to_owned(), clip_params(b)?),
        "Elu" => ("Elu".to_owned(), vec![float("alpha", 1.0)]),
        "Gelu" if b.node.attrs.str("approximate") == Some("tanh") => {
            ("GeluTanh".to_owned(), vec![])
        }
        "Gelu" | "com.microsoft::Gelu" => ("Gelu".to_owned(), vec![]),
        "HardSigmoid" => (
            "HardSigmoid".to_owned(),
            vec![float("alpha", 0.2), float("beta", 0.5)],
        ),
        "LeakyRelu" => ("LeakyRelu".to_owned(), vec![float("alpha", 0.01)]),
        "PRelu" => {
            let slope = b.number(b.input(1)?).ok_or(Skip::NoMatch)?;
            b.expect_rank_of(b.x()?)?;
            ("LeakyRelu".to_owned(), vec![slope as f32])
        }
        "Swish" => ("Swish".to_owned(), vec![float("alpha", 1.0)]),
        "com.microsoft::QuickGelu" => ("Swish".to_owned(), vec![float("alpha", 1.702)]),
        _ => return Err(Skip::NoMatch),
    };
    if params.iter().any(|param| !param.is_finite()) {
        return Err(Skip::Refused("a parameter is not finite"));
    }
    let mut attrs = Attrs::default();
    attrs.set("activation", Attr::Str(name.into_bytes()));
    if !params.is_empty() {
        attrs.set("activation_params", Attr::Floats(params));
    }
    Ok(attrs)
}

/// Two finite bounds: what is left out bounds nothing.
fn clip_params(b: &Build) -> Result<Vec<f32>, Skip> {
    let bound = |idx: usize, default: f32| match b.node.input(idx) {
        None => Ok(default),
        Some(value) => {
            let number = b
                .number(value)
                .ok_or(Skip::Refused("a bound is not constant"))?;
            Ok((number as f32).clamp(f32::MIN, f32::MAX))
        }
    };
    Ok(vec![bound(1, f32::MIN)?, bound(2, f32::MAX)?])
}
