//! Element by element.

use super::{Build, Formula, Skip, is_constant, known_number, output_sizes, producer, product};
use crate::graph::ValueId;
use crate::ops::Attr;
use crate::tensor::{DType, Tensor};

/// wonnx writes bounds into the shader with one decimal.
fn has_one_decimal(number: f64) -> bool {
    let number = number as f32;
    format!("{number:.1}").parse() == Ok(number)
}

/// `Clip` with both bounds given and each with at most one decimal; others through `Relu`.
pub(super) fn clip(b: &Build) -> Formula {
    let x = b.x()?;
    if b.dtype(x)? != DType::F32 {
        return Err(Skip::Refused("wonnx clips f32"));
    }
    let bound = |idx: usize, default: f32| match b.node.input(idx) {
        None => Ok(f64::from(default)),
        Some(value) => {
            let number = known_number(b, value).ok_or(Skip::Refused("a bound is not constant"))?;
            Ok(number.clamp(f32::MIN.into(), f32::MAX.into()))
        }
    };
    let (min, max) = (bound(1, f32::MIN)?, bound(2, f32::MAX)?);
    let given = (b.node.input(1), b.node.input(2));
    if has_one_decimal(min) && has_one_decimal(max) {
        let same =
            |value: Option<ValueId>, number| value.and_then(|v| known_number(b, v)) == Some(number);
        if same(given.0, min) && same(given.1, max) {
            return Err(Skip::NoMatch);
        }
        return clipped(b, x, min, max);
    }
    // Larger numbers of more decimals would cost the small ones their digits.
    if [min, max]
        .iter()
        .any(|&number| !has_one_decimal(number) && number.abs() > 16.0)
    {
        return Err(Skip::Refused("a bound has too many digits"));
    }
    let relu = |x: ValueId| b.op("Relu", &[x]);
    let mut y = x;
    // max(x, lo) = lo + relu(x - lo), min(x, hi) = hi - relu(hi - x)
    if !has_one_decimal(min) {
        let lo = b.like(x, min)?;
        y = b.add(lo, relu(b.sub(y, lo)));
    } else if given.0.is_some() {
        y = clipped(b, y, min, f32::MAX.into())?;
    }
    if !has_one_decimal(max) {
        let hi = b.like(x, max)?;
        y = b.sub(hi, relu(b.sub(hi, y)));
    } else if given.1.is_some() {
        y = clipped(b, y, f32::MIN.into(), max)?;
    }
    Ok(y)
}

fn clipped(b: &Build, x: ValueId, min: f64, max: f64) -> Formula {
    Ok(b.op(
        "Clip",
        &[x, b.scalar(DType::F32, min)?, b.scalar(DType::F32, max)?],
    ))
}

/// `Max` or `Min` with a constant is a `Clip`; of several values, a reduction over a list of them.
pub(super) fn bound(b: &Build) -> Formula {
    let (x, sizes) = (b.x()?, output_sizes(b)?);
    let is_max = b.node.op.is("Max");
    let dtype = b.dtype(x)?;
    if !matches!(dtype, DType::F32 | DType::I32) {
        return Err(Skip::Refused("wonnx compares f32 and i32"));
    }
    let given: Option<Vec<ValueId>> = b.node.inputs.iter().copied().collect();
    let given = given.ok_or(Skip::NoMatch)?;
    if let [one, other] = given[..]
        && dtype == DType::F32
    {
        let (x, number) = match (known_number(b, one), known_number(b, other)) {
            (Some(number), _) => (other, Some(number)),
            (None, number) => (one, number),
        };
        if let Some(number) = number
            && b.sizes(x)? == sizes
        {
            let number = Some(b.like(x, number)?);
            let bounds = if is_max {
                [Some(x), number, None]
            } else {
                [Some(x), None, number]
            };
            return Ok(b.op_with("Clip", &bounds, []));
        }
    }
    let count = product(&sizes)?;
    let as_row = |value: ValueId| -> Formula {
        let is_whole = b.sizes(value)? == sizes;
        let whole = if is_whole {
            value
        } else {
            b.op("Expand", &[value, b.ints(&sizes)])
        };
        Ok(b.reshape(whole, &[1, count]))
    };
    let rows: Vec<ValueId> = given.into_iter().map(as_row).collect::<Result<_, _>>()?;
    let list = b.op_with("Concat", &rows, [("axis", Attr::Int(0))]);
    let name = if is_max { "ReduceMax" } else { "ReduceMin" };
    let best = b.op_with(name, &[list, b.ints(&[0])], [("keepdims", Attr::Int(0))]);
    Ok(b.reshape(best, &sizes))
}

/// wonnx fuses every `LeakyRelu` into the `Conv` before it, and loses it there.
pub(super) fn leaky_relu(b: &Build) -> Formula {
    let x = b.x()?;
    if !producer(b, x).is_some_and(|node| node.op.is("Conv")) {
        return Err(Skip::NoMatch);
    }
    let slope = b.node.attrs.float("alpha").unwrap_or(0.01);
    Ok(b.op("PRelu", &[x, b.constant(Tensor::vector(&[slope]))]))
}

/// Powers by small constants: wonnx's own has no negative base.
pub(super) fn pow(b: &Build) -> Formula {
    let x = b.x()?;
    let exponent = b.input(1)?;
    let constant = b
        .graph
        .constant(exponent)
        .ok_or(Skip::Refused("the exponent varies"))?;
    let whole = constant
        .to_i64s()
        .map(|ints| ints.iter().map(|&n| n as f64).collect());
    let numbers: Vec<f64> = whole.or_else(|| constant.to_f64s()).unwrap_or_default();
    let Some(&first) = numbers.first() else {
        return Err(Skip::Refused("the exponent is empty"));
    };
    if numbers.iter().any(|&number| number != first) || b.sizes(x)? != output_sizes(b)? {
        return Err(Skip::Refused("exponents differ"));
    }
    if b.dtype(x)? != DType::F32 {
        return Err(Skip::Refused("wonnx raises f32"));
    }
    let square = || b.mul(x, x);
    let reciprocal = |y: ValueId| b.op("Reciprocal", &[y]);
    Ok(match first {
        1.0 => x,
        2.0 => square(),
        3.0 => b.mul(square(), x),
        4.0 => {
            let square = square();
            b.mul(square, square)
        }
        0.5 => b.op("Sqrt", &[x]),
        -0.5 => reciprocal(b.op("Sqrt", &[x])),
        -1.0 => reciprocal(x),
        -2.0 => reciprocal(square()),
        _ => return Err(Skip::Refused("the exponent is none of the simple ones")),
    })
}

/// erf(x) = sign(x) * (1 - p(t) * exp(-x^2)), t = 1 / (1 + 0.3275911 |x|), to 1.5e-7
/// (Abramowitz and Stegun, 7.1.26).
pub(super) fn erf(b: &Build) -> Formula {
    const COEFFICIENTS: [f64; 5] = [
        1.061405429,
        -1.453152027,
        1.421413741,
        -0.284496736,
        0.254829592,
    ];
    let x = b.x()?;
    let number = |number: f64| b.like(x, number);
    let magnitude = b.op("Abs", &[x]);
    let scaled = b.mul(number(0.3275911)?, magnitude);
    let t = b.op("Reciprocal", &[b.add(scaled, number(1.0)?)]);
    let mut polynomial = b.mul(number(COEFFICIENTS[0])?, t);
    for coefficient in &COEFFICIENTS[1..] {
        polynomial = b.mul(b.add(polynomial, number(*coefficient)?), t);
    }
    let decay = b.op("Exp", &[b.op("Neg", &[b.mul(x, x)])]);
    Ok(b.mul(
        b.op("Sign", &[x]),
        b.sub(number(1.0)?, b.mul(polynomial, decay)),
    ))
}

// gamma * elu(x)
pub(super) fn selu(b: &Build) -> Formula {
    let x = b.x()?;
    let alpha = b.node.attrs.float("alpha").unwrap_or(1.673_263_2);
    let elu = b.op_with("Elu", &[x], [("alpha", Attr::Float(alpha))]);
    Ok(b.mul(elu, b.like(x, b.float("gamma", 1.050_701))?))
}

// x + 0 of the wanted shape
pub(super) fn expand(b: &Build) -> Formula {
    const MAX_ZEROS: i64 = 1 << 22;
    let (x, sizes) = (b.x()?, output_sizes(b)?);
    let dtype = b.dtype(x)?;
    let count = product(&sizes)?;
    if !matches!(dtype, DType::F32 | DType::I32) || count > MAX_ZEROS || is_constant(b, x) {
        return Err(Skip::Refused("zeros of the wanted shape would be too many"));
    }
    if b.sizes(x)? == sizes {
        return Err(Skip::NoMatch);
    }
    let shape: Vec<usize> = sizes.iter().map(|&size| size as usize).collect();
    let zeros = Tensor::from_bytes(dtype, &shape, vec![0; 4 * count as usize]);
    Ok(b.add(
        x,
        b.constant(zeros.map_err(|_| Skip::Refused("a size is wrong"))?),
    ))
}
