//! Element by element.

use super::{literal, one_type, require};
use crate::backend::support::{Facts, Verdict};
use crate::graph::{Node, Source};
use crate::tensor::DType;

pub(super) fn positive_alpha(facts: &Facts) -> Verdict {
    let alpha = facts.node.attrs.float("alpha").unwrap_or(1.0);
    require(alpha > 0.0, "alpha is not positive")?;
    literal(alpha)
}

pub(super) fn leaky_relu(facts: &Facts) -> Verdict {
    let alpha = facts.node.attrs.float("alpha").unwrap_or(0.01);
    require(alpha >= 0.0, "alpha is negative")?;
    literal(alpha)?;
    // wonnx fuses the two, and its general convolution forgets the activation.
    let follows_conv = producer(facts).is_some_and(|node| node.op.is("Conv"));
    require(!follows_conv, "it follows a Conv")
}

/// What makes the first input, past nodes that wonnx takes out before it fuses.
fn producer<'a>(facts: &Facts<'a>) -> Option<&'a Node> {
    let mut node = facts.node;
    loop {
        let Source::Node { node: before, .. } = facts.graph.value(node.input(0)?).source else {
            return None;
        };
        node = facts.graph.node(before);
        if !node.op.is("Identity") {
            return Some(node);
        }
    }
}

/// wonnx writes the bounds into the shader with one decimal.
pub(super) fn clip(facts: &Facts) -> Verdict {
    for idx in [1, 2] {
        require(facts.has_input(idx), "a bound is not given")?;
        let bound = facts.constant(idx).ok_or("a bound is not constant")?;
        let Some(&[bound]) = bound.elements::<f32>().as_deref() else {
            return Err("a bound is not one f32");
        };
        let is_kept = bound.is_finite() && format!("{bound:.1}").parse() == Ok(bound);
        require(is_kept, "a bound has more than one decimal")?;
    }
    Ok(())
}

pub(super) fn cast(facts: &Facts) -> Verdict {
    let to = facts.output(0).and_then(|fact| fact.dtype);
    let is_told = to.is_some_and(|dtype| facts.int("to", 0) == i64::from(dtype.onnx()));
    let is_known = matches!(to, Some(DType::F32 | DType::I32));
    require(is_told && is_known, "it does not cast to f32 or i32")
}

pub(super) fn div(facts: &Facts) -> Verdict {
    one_type(facts)?;
    if facts.dtype(0) == Some(DType::F32) {
        return Ok(());
    }
    let divisor = facts.constant(1).and_then(|divisor| divisor.to_i64s());
    let never_zero = divisor.is_some_and(|divisor| !divisor.contains(&0));
    require(never_zero, "an integer divisor may be zero")
}

pub(super) fn pow(facts: &Facts) -> Verdict {
    one_type(facts)?;
    let base = facts.constant(0).and_then(|base| base.to_f64s());
    let is_positive = base.is_some_and(|base| base.iter().all(|&x| x > 0.0 && x.is_finite()));
    require(is_positive, "the base may be negative")
}

pub(super) fn prelu(facts: &Facts) -> Verdict {
    one_type(facts)?;
    let keeps_shape = facts.sizes(0) == facts.output_sizes(0);
    require(keeps_shape, "the slope has more axes than the input")
}
