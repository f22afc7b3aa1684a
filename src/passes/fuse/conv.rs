//! What stands before and behind convolutions: in their weights, their bias, their pads, and as
//! `com.microsoft::FusedConv`, which is `gain * activation(conv(x, w) + bias + z) + shift`.

use super::{Build, Formula, Skip, activation};
use crate::graph::{Node, ValueId};
use crate::ops::Attr;
use crate::tensor::DType;

const FUSED: &str = "com.microsoft::FusedConv";

/// A sum of products with constant weights, read only by the node that is being replaced.
macro_rules! product {
    () => {
        "[c@Conv(x, w, b?) | c@ConvTranspose(x, w, b?) | c@Gemm(x, w, b?)]"
    };
}

// pad(x) with zeros, then conv -> conv with larger pads
pub(super) fn padded(b: &Build) -> Formula {
    let conv = format!("{}(p@Pad(x, pads, value?, axes?), w, b?)", b.node.op);
    if b.node.op.to_string() != FUSED && !b.node.op.is("Conv") {
        return Err(Skip::NoMatch);
    }
    let found = b.find(&conv)?;
    let pad = b.found(&found, "p");
    let is_zero = found
        .optional("value")
        .is_none_or(|value| b.number(value) == Some(0.0));
    if pad.attrs.str("mode").unwrap_or("constant") != "constant" || !is_zero {
        return Err(Skip::Refused("the padding is not zero"));
    }
    if b.node.attrs.str("auto_pad").unwrap_or("NOTSET") != "NOTSET" {
        return Err(Skip::Refused("auto_pad depends on the size of x"));
    }
    let rank = b.rank(found.value("x"))?;
    let given = b.known_ints(found.value("pads"))?;
    let axes: Vec<i64> = match found.optional("axes") {
        Some(axes) => b.known_ints(axes)?,
        None => (0..rank as i64).collect(),
    };
    let n_spatial = rank.saturating_sub(2);
    let own = b
        .node
        .attrs
        .ints("pads")
        .map_or(vec![0; 2 * n_spatial], <[i64]>::to_vec);
    let mut pads = own;
    if given.len() != 2 * axes.len() || pads.len() != 2 * n_spatial {
        return Err(Skip::Refused("attributes do not fit the rank"));
    }
    for (idx, &axis) in axes.iter().enumerate() {
        let amounts = [given[idx], given[idx + axes.len()]];
        match b.axis(axis, rank)?.checked_sub(2) {
            _ if amounts == [0, 0] => (),
            Some(spatial) if amounts.iter().all(|&amount| amount >= 0) => {
                pads[spatial] += amounts[0];
                pads[spatial + n_spatial] += amounts[1];
            }
            _ => return Err(Skip::Refused("it pads channels, or takes away")),
        }
    }
    let mut attrs = b.node.attrs.clone();
    attrs.set("pads", Attr::Ints(pads));
    let mut inputs = b.node.inputs.clone();
    inputs[0] = found.optional("x");
    Ok(b.op_attrs(&b.node.op.to_string(), &inputs, attrs))
}

// (product - mean) * f + bias with f = scale / sqrt(variance + epsilon)
//   -> product with w * f and (b - mean) * f + bias
pub(super) fn batch_normalized(b: &Build) -> Formula {
    let found = b.find(concat!(
        "BatchNormalization(",
        product!(),
        ", scale, bias, mean, variance)"
    ))?;
    if b.int("training_mode", 0) != 0 {
        return Err(Skip::Refused("it is in training mode"));
    }
    let [scale, bias, mean, variance] = ["scale", "bias", "mean", "variance"].map(|name| {
        let value = found.value(name);
        b.graph
            .constant(value)
            .ok_or(Skip::Refused("a parameter is not constant"))?;
        wide(b, value)
    });
    let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
    let epsilon = b.scalar(DType::F32, b.float("epsilon", 1e-5))?;
    let factor = b.div(scale, b.op("Sqrt", &[b.add(variance, epsilon)]));
    let shift = b.sub(bias, b.mul(mean, factor));
    rescaled(b, b.found(&found, "c"), Some(factor), Some(shift))
}

// product * k -> product with w * k and b * k, for a constant k per channel
pub(super) fn scaled(b: &Build) -> Formula {
    let texts = [
        (concat!("Mul(", product!(), ", k)"), false),
        (concat!("Div(", product!(), ", k)"), true),
    ];
    let (found, &is_divisor) = b.find_any(&texts)?;
    let node = b.found(&found, "c");
    let mut factor = per_channel(b, node, found.value("k"))?;
    if is_divisor {
        factor = b.op("Reciprocal", &[factor]);
    }
    rescaled(b, node, Some(factor), None)
}

// product + k -> product with b + k, for a constant k per channel
pub(super) fn shifted(b: &Build) -> Formula {
    let texts = [
        (concat!("Add(", product!(), ", k)"), false),
        (concat!("Sub(", product!(), ", k)"), true),
    ];
    let (found, &is_negative) = b.find_any(&texts)?;
    let node = b.found(&found, "c");
    let mut shift = per_channel(b, node, found.value("k"))?;
    if is_negative {
        shift = b.op("Neg", &[shift]);
    }
    rescaled(b, node, None, Some(shift))
}

// conv + z -> fused conv with z
pub(super) fn with_residual(b: &Build) -> Formula {
    if !b.node.op.is("Add") {
        return Err(Skip::NoMatch);
    }
    let (x, y) = (b.x()?, b.input(1)?);
    // The sum is the only reader of the convolution, so that z cannot come from it.
    for (sum, z) in [(x, y), (y, x)] {
        if let Ok(conv) = plain_conv(b, sum)
            && conv.input(3).is_none()
            && b.same_shape(z, sum)
        {
            let inputs = [conv.input(0), conv.input(1), conv.input(2), Some(z)];
            return Ok(b.op_attrs(FUSED, &inputs, conv.attrs.clone()));
        }
    }
    Err(Skip::NoMatch)
}

// f(conv) -> fused conv with f
pub(super) fn activated(b: &Build) -> Formula {
    let extra = activation::attributes(b)?;
    let conv = plain_conv(b, b.x()?)?;
    let mut attrs = conv.attrs.clone();
    extra
        .iter()
        .for_each(|(name, attr)| attrs.set(name, attr.clone()));
    Ok(b.op_attrs(FUSED, &conv.inputs, attrs))
}

// f(conv) * k -> fused conv with a gain, f(conv) + k -> with a shift, for a number k
pub(super) fn on_a_line(b: &Build) -> Formula {
    let texts = [
        ("Mul(c@com.microsoft::FusedConv(x, w, b?, z?), k)", true),
        ("Add(c@com.microsoft::FusedConv(x, w, b?, z?), k)", false),
    ];
    let (found, &is_factor) = b.find_any(&texts)?;
    let conv = b.found(&found, "c");
    let k = b.number(found.value("k")).ok_or(Skip::NoMatch)? as f32;
    let output = b.node.output(0).ok_or(Skip::NoMatch)?;
    if b.rank(output)? != b.rank(found.value("x"))? {
        return Err(Skip::Refused("a constant changes the rank"));
    }
    let mut attrs = conv.attrs.clone();
    let gain = attrs.float("gain").unwrap_or(1.0);
    let shift = attrs.float("shift").unwrap_or(0.0);
    let (gain, shift) = if is_factor {
        (gain * k, shift * k)
    } else {
        (gain, shift + k)
    };
    if !gain.is_finite() || !shift.is_finite() {
        return Err(Skip::Refused("a parameter is not finite"));
    }
    attrs.set("gain", Attr::Float(gain));
    attrs.set("shift", Attr::Float(shift));
    Ok(b.op_attrs(FUSED, &conv.inputs, attrs))
}

/// A float convolution without an activation, read only by the node that is being replaced.
fn plain_conv<'g>(b: &Build<'g>, value: ValueId) -> Result<&'g Node, Skip> {
    let node = b.sole_maker(value)?;
    let is_conv = node.op.is("Conv") || node.op.to_string() == FUSED;
    let is_float = matches!(b.dtype(value)?, DType::F32 | DType::F16);
    let is_plain = ["activation", "gain"].map(|name| node.attrs.get(name)) == [None, None];
    if !is_conv || !is_float || !is_plain {
        return Err(Skip::NoMatch);
    }
    Ok(node)
}

/// Constants in f32, where products of them are rounded once.
fn wide(b: &Build, value: ValueId) -> Formula {
    match b.dtype(value)? {
        DType::F32 => Ok(value),
        DType::F16 => Ok(b.cast(value, DType::F32)),
        _ => Err(Skip::Refused("it is neither f32 nor f16")),
    }
}

/// The axis of a weight that is the channel of the output.
fn channel_axis(node: &Node) -> usize {
    let is_turned = node.attrs.int("transB").unwrap_or(0) != 0;
    usize::from(!(node.op.is("Conv") || is_turned))
}

/// A constant that is the same everywhere but along the channels, as a vector in f32.
fn per_channel(b: &Build, node: &Node, k: ValueId) -> Formula {
    let tensor = b.graph.constant(k).ok_or(Skip::NoMatch)?;
    let w = b.sizes(node.input(1).ok_or(Skip::NoMatch)?)?;
    let channels = w[channel_axis(node)];
    let first = w.len().checked_sub(tensor.sizes().len());
    let first = first.ok_or(Skip::Refused("a constant changes the rank"))?;
    let mut sizes = tensor.sizes().iter().enumerate();
    if !sizes.all(|(axis, &size)| size == 1 || first + axis == 1 && size as i64 == channels) {
        return Err(Skip::NoMatch);
    }
    Ok(b.reshape(wide(b, k)?, &[-1]))
}

/// The product with its weights times a factor and its bias times that plus a shift, each a vector
/// in f32 of one element or one for each channel.
fn rescaled(b: &Build, node: &Node, factor: Option<ValueId>, shift: Option<ValueId>) -> Formula {
    let (Some(x), Some(w)) = (node.input(0), node.input(1)) else {
        return Err(Skip::NoMatch);
    };
    let dtype = b.dtype(w)?;
    let sizes: Vec<i64> = b.sizes(w)?;
    let axis = channel_axis(node);
    if node.op.is("ConvTranspose") && node.attrs.int("group").unwrap_or(1) != 1 {
        return Err(Skip::Refused("its channels are in groups"));
    }
    let bias = node.input(2);
    let is_constant = |value: ValueId| b.graph.constant(value).is_some();
    if !is_constant(w) || !bias.is_none_or(is_constant) {
        return Err(Skip::Refused("the weights are not constant"));
    }
    let narrow = |value| match dtype {
        DType::F32 => value,
        dtype => b.cast(value, dtype),
    };
    let mut attrs = node.attrs.clone();
    let mut new_w = w;
    if let Some(factor) = factor {
        let mut spread = vec![1; sizes.len()];
        spread[axis] = -1;
        new_w = narrow(b.mul(wide(b, w)?, b.reshape(factor, &spread)));
    }
    let mut new_bias = bias.map(|bias| wide(b, bias)).transpose()?;
    if let (Some(bias), Some(beta)) = (new_bias, attrs.float("beta")) {
        attrs.remove("beta");
        new_bias = Some(b.mul(bias, b.scalar(DType::F32, beta.into())?));
    }
    if let (Some(bias), Some(factor)) = (new_bias, factor) {
        new_bias = Some(b.mul(bias, factor));
    }
    let total = match (new_bias, shift) {
        (Some(bias), Some(shift)) => Some(b.add(bias, shift)),
        (bias, shift) => bias.or(shift),
    };
    let spread = |total| narrow(b.op("Expand", &[total, b.ints(&[sizes[axis]])]));
    let inputs = [Some(x), Some(new_w), total.map(spread)];
    Ok(b.op_attrs(&node.op.to_string(), &inputs, attrs))
}
