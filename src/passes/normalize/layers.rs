//! Operators whose meaning changed.

use super::attributes::text;
use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::{Attr, Attrs};
use crate::tensor::{Dim, Tensor};

/// `BatchNormalization` before 14: inference unless further outputs are read; before 9 it may
/// have statistics for every element instead of every channel.
pub(super) fn batch_normalization(b: &Build) -> Formula {
    if (1..b.node.outputs.len()).any(|idx| b.is_read(idx)) {
        return Err(Skip::Refused("it is in training mode"));
    }
    let (x, scale, bias) = (b.x()?, b.input(1)?, b.input(2)?);
    let (mean, variance) = (b.input(3)?, b.input(4)?);
    let mut attrs = Attrs::default();
    if let Some(epsilon) = b.node.attrs.get("epsilon") {
        attrs.set("epsilon", epsilon.clone());
    }
    if b.int("spatial", 1) != 0 {
        return Ok(b.op_attrs(
            "BatchNormalization",
            &[x, scale, bias, mean, variance],
            attrs,
        ));
    }
    // y = (x - mean) / sqrt(variance + epsilon) * scale + bias, element by element
    let epsilon = b.like(x, b.float("epsilon", 1e-5))?;
    let deviation = b.op("Sqrt", &[b.add(variance, epsilon)]);
    Ok(b.add(b.mul(b.div(b.sub(x, mean), deviation), scale), bias))
}

/// `GroupNormalization-18` has scale and bias per group, today's per channel.
pub(super) fn group_normalization(b: &Build) -> Formula {
    let (x, scale, bias) = (b.x()?, b.input(1)?, b.input(2)?);
    let n_groups = b.int("num_groups", 0);
    let channels = b.shape(x)?.get(1).and_then(Dim::value);
    let channels = channels.ok_or(Skip::Refused("the number of channels is unknown"))?;
    if n_groups < 1 || channels % n_groups != 0 {
        return Err(Skip::Refused("num_groups does not divide the channels"));
    }
    let per_channel = |per_group: ValueId| {
        let spread = b.ints(&[n_groups, channels / n_groups]);
        b.reshape(
            b.op("Expand", &[b.unsqueeze(per_group, &[1]), spread]),
            &[channels],
        )
    };
    let inputs = [x, per_channel(scale), per_channel(bias)];
    b.again("GroupNormalization", &inputs, b.node.attrs.clone())
}

/// `Softmax`, `LogSoftmax` and `Hardmax` before 13: the axis, 1 where it is not given, splits the
/// shape in two, and the rule runs over all that follows it.
pub(super) fn softmax(b: &Build) -> Formula {
    let x = b.x()?;
    let axis = b.int("axis", 1);
    let name = &*b.node.op.name;
    let last = |axis: i64| b.op_with(name, &[x], [("axis", Attr::Int(axis))]);
    if axis == -1 {
        return Ok(last(-1));
    }
    if let Ok(shape) = b.shape(x)
        && let Some(axis) = shape.axis(axis)
        && shape[axis + 1..].iter().all(|dim| *dim == Dim::Size(1))
    {
        return Ok(last(if axis + 1 == shape.rank() {
            -1
        } else {
            axis as i64
        }));
    }
    let flat = b.op_with("Flatten", &[x], [("axis", Attr::Int(axis))]);
    Ok(b.reshape_like(b.op_with(name, &[flat], [("axis", Attr::Int(-1))]), x))
}

/// `Resize-10`: inputs x and scales; positions are scaled from the corner and cut off.
pub(super) fn resize(b: &Build) -> Formula {
    scaled(b, b.input(1)?)
}

/// `Upsample` became `Resize-10`. Scales are an input since 9, a list since 7, and two numbers
/// before.
pub(super) fn upsample(b: &Build) -> Formula {
    let attrs = &b.node.attrs;
    let scales = match (b.node.input(1), attrs.floats("scales")) {
        (Some(scales), _) => scales,
        (None, Some(scales)) => b.constant(Tensor::vector(scales)),
        (None, None) => {
            let both = attrs.float("height_scale").zip(attrs.float("width_scale"));
            let (height, width) = both.ok_or(Skip::Refused("scales are missing"))?;
            b.constant(Tensor::vector(&[1.0, 1.0, height, width]))
        }
    };
    scaled(b, scales)
}

fn scaled(b: &Build, scales: ValueId) -> Formula {
    let mode = match b.node.attrs.str("mode").unwrap_or("nearest") {
        "bilinear" => "linear",
        mode => mode,
    };
    let attrs = [
        ("mode", text(mode)),
        ("coordinate_transformation_mode", text("asymmetric")),
        ("nearest_mode", text("floor")),
    ];
    Ok(b.op_with("Resize", &[Some(b.x()?), None, Some(scales)], attrs))
}

/// `Scan-8` runs over batches and takes sequence lengths.
pub(super) fn scan(_: &Build) -> Formula {
    Err(Skip::Refused("its batch axis is gone"))
}
