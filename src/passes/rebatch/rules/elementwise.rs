//! Functions of single elements.

use super::super::class::Place;
use super::super::site::{Site, Verdict};
use crate::tensor::Tensor;

pub(super) const UNARY: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitwiseNot",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "com.microsoft::Gelu",
    "com.microsoft::QuickGelu",
];

pub(super) const BROADCAST: &[&str] = &[
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
    "com.microsoft::BiasGelu",
    "com.microsoft::FastGelu",
];

/// Inputs a, its scale and zero point, b, its scale and zero point, those of the result.
pub(super) const QUANTIZED_BROADCAST: &[&str] =
    &["com.microsoft::QLinearAdd", "com.microsoft::QLinearMul"];

pub(super) const QUANTIZED: &[&str] = &["DequantizeLinear", "QuantizeLinear"];

pub(super) fn unary(site: &Site) -> Verdict {
    Ok(vec![site.need(0)?])
}

pub(super) fn broadcast(site: &Site) -> Verdict {
    let n_inputs = site.node.inputs.len();
    Ok(vec![aligned(site, &Vec::from_iter(0..n_inputs))?])
}

pub(super) fn quantized_broadcast(site: &Site) -> Verdict {
    Ok(vec![aligned(site, &[0, 3])?])
}

/// Where the rows of several inputs are once these are broadcast to one shape.
pub(super) fn aligned(site: &Site, inputs: &[usize]) -> Result<Place, String> {
    let there = || inputs.iter().copied().filter(|&idx| site.has(idx));
    let ranks: Result<Vec<usize>, String> = there().map(|idx| site.rank(idx)).collect();
    let out_rank = ranks?.into_iter().max().unwrap_or(0);
    let mut carriers = there().filter_map(|idx| Some((idx, site.place(idx)?)));
    let (first, place) = carriers.next().ok_or("no input carries rows")?;
    let place = place.moved(place.axis + out_rank - site.rank(first)?);
    for idx in there() {
        site.expect_fit(idx, &place, out_rank)?;
    }
    Ok(place)
}

/// One scale for all, or scales along another axis than that of the rows.
pub(super) fn quantized(site: &Site) -> Verdict {
    let place = site.need(0)?;
    let is_whole = site.int("block_size", 0) == 0;
    for idx in [1, 2] {
        if !site.has(idx) || (is_whole && site.is_single(idx)) {
            continue;
        }
        if site.rank(idx)? != 1 {
            return Err(format!("input {idx} is in blocks"));
        }
        if site.axis_attr(1)? == place.axis {
            return Err(format!("input {idx} has a value for each row"));
        }
    }
    Ok(vec![place])
}

pub(super) fn dropout(site: &Site) -> Verdict {
    let trains = site.constant(2).and_then(Tensor::to_i64s);
    if site.has(2) && trains.is_none_or(|flags| flags != [0]) {
        return Err("it draws random numbers".into());
    }
    Ok(vec![site.need(0)?])
}
