//! Element by element.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::Attr;
use crate::tensor::DType;

// alpha * elu(x / alpha)
pub(super) fn celu(b: &Build) -> Formula {
    let x = b.x()?;
    let alpha = b.like(x, b.float("alpha", 1.0))?;
    Ok(b.mul(
        alpha,
        b.op_with("Elu", &[b.div(x, alpha)], [("alpha", Attr::Float(1.0))]),
    ))
}

// x < 0 ? alpha * (exp(x) - 1) : x
pub(super) fn elu(b: &Build) -> Formula {
    let x = b.x()?;
    let (zero, one) = (b.like(x, 0.0)?, b.like(x, 1.0)?);
    let alpha = b.like(x, b.float("alpha", 1.0))?;
    let below = b.mul(alpha, b.sub(b.op("Exp", &[x]), one));
    Ok(choose(b, b.op("Less", &[x, zero]), below, x))
}

// x > 0 ? gamma * x : gamma * alpha * (exp(x) - 1)
pub(super) fn selu(b: &Build) -> Formula {
    let x = b.x()?;
    let (zero, one) = (b.like(x, 0.0)?, b.like(x, 1.0)?);
    let gamma = b.like(x, b.float("gamma", 1.050_701))?;
    let alpha = b.like(x, b.float("alpha", 1.673_263_2))?;
    let below = b.mul(alpha, b.sub(b.op("Exp", &[x]), one));
    Ok(b.mul(gamma, choose(b, b.op("Greater", &[x, zero]), x, below)))
}

// max(x, 0)
pub(super) fn relu(b: &Build) -> Formula {
    let x = b.x()?;
    Ok(b.op("Max", &[x, b.like(x, 0.0)?]))
}

// x < 0 ? alpha * x : x
pub(super) fn leaky_relu(b: &Build) -> Formula {
    let x = b.x()?;
    let alpha = b.like(x, b.float("alpha", 0.01))?;
    Ok(choose(
        b,
        b.op("Less", &[x, b.like(x, 0.0)?]),
        b.mul(alpha, x),
        x,
    ))
}

// x < 0 ? slope * x : x
pub(super) fn prelu(b: &Build) -> Formula {
    let (x, slope) = (b.x()?, b.input(1)?);
    Ok(choose(
        b,
        b.op("Less", &[x, b.like(x, 0.0)?]),
        b.mul(slope, x),
        x,
    ))
}

// x > alpha ? x : 0
pub(super) fn thresholded_relu(b: &Build) -> Formula {
    let x = b.x()?;
    let alpha = b.like(x, b.float("alpha", 1.0))?;
    Ok(choose(b, b.op("Greater", &[x, alpha]), x, b.like(x, 0.0)?))
}

// x < -lambda ? x + bias : x > lambda ? x - bias : 0
pub(super) fn shrink(b: &Build) -> Formula {
    let x = b.x()?;
    let lambda = b.float("lambd", 0.5);
    let bias = b.like(x, b.float("bias", 0.0))?;
    let above = b.op("Greater", &[x, b.like(x, lambda)?]);
    let below = b.op("Less", &[x, b.like(x, -lambda)?]);
    let not_below = choose(b, above, b.sub(x, bias), b.like(x, 0.0)?);
    Ok(choose(b, below, b.add(x, bias), not_below))
}

// x / (1 + |x|)
pub(super) fn softsign(b: &Build) -> Formula {
    let x = b.x()?;
    Ok(b.div(x, b.add(b.op("Abs", &[x]), b.like(x, 1.0)?)))
}

// x * tanh(log(1 + e)) with e = exp(x) is x * n / (n + 2) with n = e * (e + 2), which keeps its
// digits where e is small. Beyond 20 the quotient is 1.
pub(super) fn mish(b: &Build) -> Formula {
    let x = b.x()?;
    let two = b.like(x, 2.0)?;
    let e = b.op("Exp", &[b.op("Min", &[x, b.like(x, 20.0)?])]);
    let n = b.mul(e, b.add(e, two));
    Ok(b.mul(x, b.div(n, b.add(n, two))))
}

// x * sigmoid(alpha * x)
pub(super) fn swish(b: &Build) -> Formula {
    let x = b.x()?;
    swish_of(b, x, b.float("alpha", 1.0))
}

/// `x * sigmoid(alpha * x)`
pub(super) fn swish_of(b: &Build, x: ValueId, alpha: f64) -> Formula {
    let scaled = if alpha == 1.0 {
        x
    } else {
        b.mul(b.like(x, alpha)?, x)
    };
    Ok(b.mul(x, b.op("Sigmoid", &[scaled])))
}

// swish(a) * b
pub(super) fn swiglu(b: &Build) -> Formula {
    Ok(b.mul(swish(b)?, b.input(1)?))
}

// clip(alpha * x + beta, 0, 1)
pub(in crate::passes) fn hard_sigmoid(b: &Build) -> Formula {
    hard_sigmoid_of(b, b.x()?, b.float("alpha", 0.2), b.float("beta", 0.5))
}

// x * clip(x / 6 + 1/2, 0, 1)
pub(in crate::passes) fn hard_swish(b: &Build) -> Formula {
    let x = b.x()?;
    Ok(b.mul(x, hard_sigmoid_of(b, x, 1.0 / 6.0, 0.5)?))
}

fn hard_sigmoid_of(b: &Build, x: ValueId, alpha: f64, beta: f64) -> Formula {
    let line = b.add(b.mul(b.like(x, alpha)?, x), b.like(x, beta)?);
    Ok(b.op("Clip", &[line, b.like(x, 0.0)?, b.like(x, 1.0)?]))
}

// x/2 * (1 + erf(x / sqrt(2))), or with tanh: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
pub(in crate::passes) fn gelu(b: &Build) -> Formula {
    gelu_of(b, b.x()?, b.node.attrs.str("approximate") == Some("tanh"))
}

pub(in crate::passes) fn gelu_of(b: &Build, x: ValueId, tanh: bool) -> Formula {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let (half, one) = (b.like(x, 0.5)?, b.like(x, 1.0)?);
    let bell = if tanh {
        let cube = b.mul(x, b.mul(x, x));
        let bent = b.add(x, b.mul(b.like(x, 0.044715)?, cube));
        b.op(
            "Tanh",
            &[b.mul(b.like(x, FRAC_2_SQRT_PI * FRAC_1_SQRT_2)?, bent)],
        )
    } else {
        b.op("Erf", &[b.mul(x, b.like(x, FRAC_1_SQRT_2)?)])
    };
    Ok(b.mul(b.mul(half, x), b.add(bell, one)))
}

/// `Clip` with one bound or none.
pub(super) fn clip(b: &Build) -> Formula {
    let mut y = b.x()?;
    if let Some(min) = b.node.input(1) {
        y = b.op("Max", &[y, min]);
    }
    if let Some(max) = b.node.input(2) {
        y = b.op("Min", &[y, max]);
    }
    Ok(y)
}

/// `Dropout` outside of training gives its input back, with a mask that keeps all.
pub(super) fn dropout(b: &Build) -> Formula {
    let x = b.x()?;
    if let Some(mode) = b.node.input(2)
        && b.known_ints(mode)? != [0]
    {
        return Err(Skip::Refused("it is in training mode"));
    }
    if b.node.output(1).is_some() {
        let ones = b.op("Expand", &[b.scalar(DType::F32, 1.0)?, b.op("Shape", &[x])]);
        b.also(1, b.cast(ones, DType::Bool));
    }
    Ok(b.op("Identity", &[x]))
}

/// Infinities of one sign: `isinf(x) and x > 0`.
pub(super) fn is_inf(b: &Build) -> Formula {
    let x = b.x()?;
    let zero = b.like(x, 0.0)?;
    let any = b.op("IsInf", &[x]);
    let sign = match (
        b.int("detect_positive", 1) != 0,
        b.int("detect_negative", 1) != 0,
    ) {
        (true, true) => return Err(Skip::NoMatch),
        (true, false) => b.op("Greater", &[x, zero]),
        (false, true) => b.op("Less", &[x, zero]),
        (false, false) => b.op(
            "And",
            &[b.op("Greater", &[x, zero]), b.op("Less", &[x, zero])],
        ),
    };
    Ok(b.op("And", &[any, sign]))
}

/// `Max`, `Min`, `Sum` of many, two at a time.
pub(super) fn chain(b: &Build) -> Formula {
    let name = match &*b.node.op.name {
        "Sum" => "Add",
        name => name,
    };
    if b.node.inputs.len() == 2 && name != "Add" {
        return Err(Skip::NoMatch);
    }
    chain_of(b, name)
}

fn chain_of(b: &Build, name: &str) -> Formula {
    let mut result = b.x()?;
    for idx in 1..b.node.inputs.len() {
        result = b.op(name, &[result, b.input(idx)?]);
    }
    Ok(result)
}

// (x0 + x1 + ..) / n
pub(super) fn mean(b: &Build) -> Formula {
    let count = b.like(b.x()?, b.node.inputs.len() as f64)?;
    Ok(b.div(chain_of(b, "Add")?, count))
}

/// Shifts of bytes as products and quotients with powers of two.
pub(super) fn bit_shift(b: &Build) -> Formula {
    let (x, bits) = (b.x()?, b.input(1)?);
    let dtype = b.dtype(x)?;
    // Larger types do not fit the 32-bit integers that this computes in.
    let modulus = match dtype {
        DType::U8 => 1 << 8,
        DType::U16 => 1 << 16,
        _ => return Err(Skip::Refused("the type is wider than 16 bits")),
    };
    // A shift by the whole width or more gives 0 like one by the width.
    let width = if dtype == DType::U8 { 8.0 } else { 16.0 };
    let count = b.op(
        "Min",
        &[b.cast(bits, DType::F32), b.scalar(DType::F32, width)?],
    );
    let power = b.op("Pow", &[b.scalar(DType::F32, 2.0)?, count]);
    let wide = b.cast(x, DType::F32);
    let shifted = match b.node.attrs.str("direction") {
        // At most 2^32, whose product with a power of two is exact.
        Some("LEFT") => {
            let modulus = b.scalar(DType::F32, f64::from(modulus))?;
            let product = b.mul(wide, power);
            b.sub(
                product,
                b.mul(modulus, b.op("Floor", &[b.div(product, modulus)])),
            )
        }
        Some("RIGHT") => b.op("Floor", &[b.div(wide, power)]),
        _ => return Err(Skip::Refused("direction is neither LEFT nor RIGHT")),
    };
    Ok(b.cast(shifted, dtype))
}

fn choose(b: &Build, condition: ValueId, yes: ValueId, no: ValueId) -> ValueId {
    b.op("Where", &[condition, yes, no])
}
