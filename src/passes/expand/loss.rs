//! Losses.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::Attr;

// -weight[target] * input[target], reduced; classes are axis 1
pub(super) fn negative_log_likelihood(b: &Build) -> Formula {
    loss(b, b.x()?)
}

// the same of log_softmax(scores), which is the second output
pub(super) fn softmax_cross_entropy(b: &Build) -> Formula {
    let log_probability = b.op_with("LogSoftmax", &[b.x()?], [("axis", Attr::Int(1))]);
    b.also(1, log_probability);
    loss(b, log_probability)
}

/// log_probability: [N, C, ..], input 1 (target): [N, ..], input 2 (weight): [C].
fn loss(b: &Build, log_probability: ValueId) -> Formula {
    let target = b.input(1)?;
    let dtype = b.dtype(b.x()?)?;
    let zero = b.scalar(dtype, 0.0)?;
    let ignored = match b.node.attrs.int("ignore_index") {
        Some(index) => Some(b.op("Equal", &[target, b.like(target, index as f64)?])),
        None => None,
    };
    // Ignored targets may be outside the classes: they look up class 0 and weigh nothing.
    let class = match ignored {
        Some(ignored) => b.op("Where", &[ignored, b.like(target, 0.0)?, target]),
        None => target,
    };
    let axis = ("axis", Attr::Int(1));
    let picked = b.op_with(
        "GatherElements",
        &[log_probability, b.unsqueeze(class, &[1])],
        [axis],
    );
    let mut loss = b.op("Neg", &[b.op("Squeeze", &[picked, b.ints(&[1])])]);
    let mut weight = b
        .node
        .input(2)
        .map(|weight| b.op("Gather", &[weight, class]));
    if let Some(ignored) = ignored {
        let kept = weight.map_or_else(|| b.scalar(dtype, 1.0), Ok)?;
        weight = Some(b.op("Where", &[ignored, zero, kept]));
    }
    if let Some(weight) = weight {
        loss = b.mul(loss, weight);
    }
    let total = |x| b.op_with("ReduceSum", &[x], [("keepdims", Attr::Int(0))]);
    match b.node.attrs.str("reduction").unwrap_or("mean") {
        "none" => Ok(loss),
        "sum" => Ok(total(loss)),
        "mean" => Ok(match weight {
            Some(weight) => b.div(total(loss), total(weight)),
            None => b.op_with("ReduceMean", &[loss], [("keepdims", Attr::Int(0))]),
        }),
        _ => Err(Skip::Refused("reduction is none of none, sum, mean")),
    }
}
