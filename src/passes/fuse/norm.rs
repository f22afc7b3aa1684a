//! Normalisation that is written out with means.

use super::{Build, Formula, Skip};
use crate::graph::{Node, ValueId};
use crate::ops::{Attr, Attrs};
use crate::tensor::{DType, Tensor};

/// `x` without its mean.
macro_rules! centred {
    () => {
        "Sub(x, m@ReduceMean(x, axes))"
    };
}

/// The root of the variance.
macro_rules! deviation {
    () => {
        concat!(
            "Sqrt(Add(v@ReduceMean([Pow(",
            centred!(),
            ", 2) | Mul(",
            centred!(),
            ", ",
            centred!(),
            ")], axes), epsilon))"
        )
    };
}

macro_rules! root_mean_square {
    () => {
        "Sqrt(Add(v@ReduceMean([Pow(x, 2) | Mul(x, x)], axes), epsilon))"
    };
}

// (x - mean) / sqrt(mean (x - mean)^2 + epsilon) -> layer_normalization(x, 1)
pub(super) fn layer(b: &Build) -> Formula {
    let texts = [
        concat!("Div(", centred!(), ", ", deviation!(), ")"),
        concat!("Mul(", centred!(), ", Reciprocal(", deviation!(), "))"),
        concat!("Mul(", centred!(), ", Div(1, ", deviation!(), "))"),
    ];
    standardized(b, "LayerNormalization", &texts)
}

// x / sqrt(mean x^2 + epsilon) -> rms_normalization(x, 1)
pub(super) fn rms(b: &Build) -> Formula {
    let texts = [
        concat!("Div(x, ", root_mean_square!(), ")"),
        concat!("Mul(x, Reciprocal(", root_mean_square!(), "))"),
        concat!("Mul(x, Div(1, ", root_mean_square!(), "))"),
    ];
    standardized(b, "RMSNormalization", &texts)
}

fn standardized(b: &Build, name: &str, texts: &[&str]) -> Formula {
    let texts: Vec<(&str, ())> = texts.iter().map(|&text| (text, ())).collect();
    let (found, ()) = b.find_any(&texts)?;
    let x = found.value("x");
    let dtype = b.dtype(x)?;
    if !matches!(dtype, DType::F32 | DType::F16) {
        return Err(Skip::Refused("it is neither f32 nor f16"));
    }
    let shape = b.shape(x)?;
    let rank = shape.rank();
    let axes = b.known_ints(found.value("axes"))?;
    let axes = axes.iter().map(|&axis| b.axis(axis, rank));
    let mut axes = axes.collect::<Result<Vec<usize>, Skip>>()?;
    axes.sort_unstable();
    let first = rank - axes.len().min(rank);
    if axes.is_empty() || !axes.iter().copied().eq(first..rank) {
        return Err(Skip::Refused("the axes are not the last ones"));
    }
    for mean in ["m", "v"] {
        // Of the root mean square there is one.
        let node = b.found_if(&found, mean);
        if node.is_some_and(|node| node.attrs.int("keepdims") == Some(0)) {
            return Err(Skip::Refused("the means lose their axes"));
        }
    }
    let epsilon = b.number(found.value("epsilon"));
    let epsilon = epsilon.ok_or(Skip::Refused("epsilon is not constant"))?;
    b.expect_rank_of(x)?;
    let sizes: Option<Vec<i64>> = shape[first..].iter().map(|dim| dim.value()).collect();
    let sizes = sizes.ok_or(Skip::Refused("a size is unknown"))?;
    let ones = b.op("Expand", &[b.like(x, 1.0)?, b.ints(&sizes)]);
    let mut attrs = Attrs::default();
    attrs.set("axis", Attr::Int(first as i64 - rank as i64));
    attrs.set("epsilon", Attr::Float(epsilon as f32));
    Ok(b.op_attrs(name, &[x, ones], attrs))
}

// normalized(x, 1) * k -> normalized(x, k)
pub(super) fn scaled(b: &Build) -> Formula {
    let texts = [
        ("Mul(n@LayerNormalization(x, one), k)", ()),
        ("Mul(n@RMSNormalization(x, one), k)", ()),
    ];
    let (found, ()) = b.find_any(&texts)?;
    let (node, one) = (b.found(&found, "n"), found.value("one"));
    let ones = b.graph.constant(one).and_then(Tensor::to_f64s);
    if !ones.is_some_and(|ones| ones.iter().all(|&one| one == 1.0)) {
        return Err(Skip::Refused("it has a scale"));
    }
    let k = parameter(b, node, one, found.value("k"))?;
    Ok(b.op_attrs(&node.op.name, &[found.value("x"), k], node.attrs.clone()))
}

// layer_normalization(x, s) + k -> layer_normalization(x, s, k)
pub(super) fn shifted(b: &Build) -> Formula {
    let found = b.find("Add(n@LayerNormalization(x, s), k)")?;
    let (node, s) = (b.found(&found, "n"), found.value("s"));
    let k = parameter(b, node, s, found.value("k"))?;
    let inputs = [found.value("x"), s, k];
    Ok(b.op_attrs("LayerNormalization", &inputs, node.attrs.clone()))
}

/// A factor or summand with one element for each element of `scale`.
fn parameter(b: &Build, node: &Node, scale: ValueId, k: ValueId) -> Formula {
    let (expected, sizes) = (b.sizes(scale)?, b.sizes(k)?);
    let extra = sizes.len().saturating_sub(expected.len());
    let (leading, own) = sizes.split_at(extra);
    let x = node.input(0).ok_or(Skip::NoMatch)?;
    let fits = own == expected && leading.iter().all(|&size| size == 1);
    if !fits || sizes.len() > b.rank(x)? || node.outputs.len() > 1 {
        return Err(Skip::Refused("it is not one number for each element"));
    }
    Ok(if extra == 0 {
        k
    } else {
        b.reshape(k, &expected)
    })
}

// instance_normalization over groups as channels, then scale and bias per channel
//   -> group_normalization
pub(super) fn group(b: &Build) -> Formula {
    let found = b.find(
        "Add(Mul(Reshape(n@InstanceNormalization(Reshape(x, s), one, zero), t), scale), bias)",
    )?;
    let (x, node) = (found.value("x"), b.found(&found, "n"));
    let output = b.node.output(0).ok_or(Skip::NoMatch)?;
    let constants = [("one", 1.0), ("zero", 0.0)];
    for (name, expected) in constants {
        let elements = b
            .graph
            .constant(found.value(name))
            .and_then(Tensor::to_f64s);
        if !elements.is_some_and(|all| all.iter().all(|&element| element == expected)) {
            return Err(Skip::Refused("the groups have parameters"));
        }
    }
    let (shape, groups) = (b.shape(x)?, b.shape(node.input(0).ok_or(Skip::NoMatch)?)?);
    let channels = shape
        .get(1)
        .and_then(|dim| dim.value())
        .ok_or(Skip::NoMatch)?;
    let n_groups = groups
        .get(1)
        .and_then(|dim| dim.value())
        .ok_or(Skip::NoMatch)?;
    let is_known = |dim: &crate::tensor::Dim| *dim != crate::tensor::Dim::Unknown;
    if !b.same_shape(x, output)
        || !is_known(&shape[0])
        || shape[0] != groups[0]
        || n_groups == 0
        || channels % n_groups != 0
    {
        return Err(Skip::Refused("the groups are not of channels"));
    }
    let mut per_channel = vec![1; shape.rank()];
    per_channel[1] = channels;
    let parameter = |name| {
        let value = found.value(name);
        let sizes = b.sizes(value)?;
        if per_channel.ends_with(&sizes) && sizes.contains(&channels) {
            Ok(b.reshape(value, &[channels]))
        } else {
            Err(Skip::Refused("scale and bias are not per channel"))
        }
    };
    let mut attrs = node.attrs.clone();
    attrs.set("num_groups", Attr::Int(n_groups));
    let inputs = [x, parameter("scale")?, parameter("bias")?];
    Ok(b.op_attrs("GroupNormalization", &inputs, attrs))
}
