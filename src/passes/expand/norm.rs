//! Normalisation.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::Attr;
use crate::tensor::DType;

/// `(x - mean) / sqrt(variance + epsilon)` over some axes, and the two it computes on the way:
/// mean and `1 / sqrt(variance + epsilon)`.
struct Standard {
    y: ValueId,
    mean: ValueId,
    inverse_deviation: ValueId,
}

fn standardize(b: &Build, x: ValueId, axes: &[i64], epsilon: ValueId) -> Result<Standard, Skip> {
    let mean = b.reduce("ReduceMean", x, axes);
    let centred = b.sub(x, mean);
    let variance = b.reduce("ReduceMean", b.mul(centred, centred), axes);
    let deviation = b.op("Sqrt", &[b.add(variance, epsilon)]);
    let inverse_deviation = b.op("Reciprocal", &[deviation]);
    Ok(Standard {
        y: b.mul(centred, inverse_deviation),
        mean,
        inverse_deviation,
    })
}

/// The value in f32 when statistics are asked for in f32 (`stash_type = 1`) and it is shorter.
fn widened(b: &Build, x: ValueId) -> Result<(ValueId, DType, DType), Skip> {
    let dtype = b.dtype(x)?;
    let is_short = matches!(dtype, DType::F16 | DType::BF16);
    if b.int("stash_type", 1) == 1 && is_short {
        return Ok((b.cast(x, DType::F32), dtype, DType::F32));
    }
    Ok((x, dtype, dtype))
}

fn narrowed(b: &Build, y: ValueId, from: DType, to: DType) -> ValueId {
    if from == to { y } else { b.cast(y, to) }
}

/// Per-channel values as `[C, 1, ..]`, to broadcast over a rank.
fn per_channel(b: &Build, values: ValueId, rank: usize) -> ValueId {
    let axes: Vec<i64> = (1..rank as i64 - 1).collect();
    if axes.is_empty() {
        values
    } else {
        b.unsqueeze(values, &axes)
    }
}

// (x - mean) / sqrt(variance + epsilon) * scale + bias, with the batch's own statistics in
// training
pub(super) fn batch_normalization(b: &Build) -> Formula {
    let (x, scale, bias) = (b.x()?, b.input(1)?, b.input(2)?);
    let rank = b.rank(x)?;
    if rank < 2 {
        return Err(Skip::Refused("x has no channel axis"));
    }
    let (mut mean, mut variance) = (b.input(3)?, b.input(4)?);
    if b.int("training_mode", 0) != 0 {
        let momentum = b.float("momentum", 0.9);
        let axes: Vec<i64> = (0..rank as i64).filter(|&axis| axis != 1).collect();
        let squeeze = |y| b.op("Squeeze", &[y, b.ints(&axes)]);
        let kept_mean = b.reduce("ReduceMean", x, &axes);
        let centred = b.sub(x, kept_mean);
        let kept_variance = b.reduce("ReduceMean", b.mul(centred, centred), &axes);
        let running = |old: ValueId, new: ValueId| -> Formula {
            let kept = b.mul(old, b.like(old, momentum)?);
            Ok(b.add(kept, b.mul(new, b.like(old, 1.0 - momentum)?)))
        };
        let (old_mean, old_variance) = (mean, variance);
        (mean, variance) = (squeeze(kept_mean), squeeze(kept_variance));
        b.also(1, running(old_mean, mean)?);
        b.also(2, running(old_variance, variance)?);
    }
    let spread = |values| per_channel(b, values, rank);
    let epsilon = b.scalar(b.dtype(b.input(4)?)?, b.float("epsilon", 1e-5))?;
    let factor = b.div(scale, b.op("Sqrt", &[b.add(variance, epsilon)]));
    let centred = b.sub(x, spread(mean));
    Ok(b.add(b.mul(centred, spread(factor)), spread(bias)))
}

// per image and channel: standardize(x) * scale + bias
pub(super) fn instance_normalization(b: &Build) -> Formula {
    let (x, scale, bias) = (b.x()?, b.input(1)?, b.input(2)?);
    let rank = b.rank(x)?;
    if rank < 3 {
        return Err(Skip::Refused("x has no spatial axes"));
    }
    let axes: Vec<i64> = (2..rank as i64).collect();
    let epsilon = b.like(x, b.float("epsilon", 1e-5))?;
    let y = standardize(b, x, &axes, epsilon)?.y;
    Ok(b.add(
        b.mul(y, per_channel(b, scale, rank)),
        per_channel(b, bias, rank),
    ))
}

// per image and group of channels: standardize(x) * scale + bias
pub(super) fn group_normalization(b: &Build) -> Formula {
    let (x, scale, bias) = (b.x()?, b.input(1)?, b.input(2)?);
    let rank = b.rank(x)?;
    let (wide, dtype, wide_dtype) = widened(b, x)?;
    let epsilon = b.scalar(wide_dtype, b.float("epsilon", 1e-5))?;
    let groups = b.reshape(wide, &[0, b.int("num_groups", 1), -1]);
    let y = standardize(b, groups, &[2], epsilon)?.y;
    let y = narrowed(b, b.reshape_like(y, x), wide_dtype, dtype);
    Ok(b.add(
        b.mul(y, per_channel(b, scale, rank)),
        per_channel(b, bias, rank),
    ))
}

// from `axis` on: standardize(x) * scale + bias
pub(super) fn layer_normalization(b: &Build) -> Formula {
    let (x, scale) = (b.x()?, b.input(1)?);
    let axes = axes_from(b, x)?;
    let (wide, dtype, wide_dtype) = widened(b, x)?;
    let epsilon = b.scalar(wide_dtype, b.float("epsilon", 1e-5))?;
    let standard = standardize(b, wide, &axes, epsilon)?;
    b.also(1, standard.mean);
    b.also(2, standard.inverse_deviation);
    let y = b.mul(narrowed(b, standard.y, wide_dtype, dtype), scale);
    Ok(match b.node.input(2) {
        Some(bias) => b.add(y, bias),
        None => y,
    })
}

// from `axis` on: x / sqrt(mean x^2 + epsilon) * scale
pub(super) fn rms_normalization(b: &Build) -> Formula {
    let (x, scale) = (b.x()?, b.input(1)?);
    let axes = axes_from(b, x)?;
    let (wide, dtype, wide_dtype) = widened(b, x)?;
    let epsilon = b.scalar(wide_dtype, b.float("epsilon", 1e-5))?;
    let power = b.reduce("ReduceMean", b.mul(wide, wide), &axes);
    let y = b.div(wide, b.op("Sqrt", &[b.add(power, epsilon)]));
    Ok(b.mul(narrowed(b, y, wide_dtype, dtype), scale))
}

/// The axes from the node's `axis` (-1 where it is not given) to the last.
fn axes_from(b: &Build, x: ValueId) -> Result<Vec<i64>, Skip> {
    let axis = b.int("axis", -1);
    if (-64..0).contains(&axis) {
        return Ok((axis..0).collect());
    }
    let rank = b.rank(x)?;
    Ok((b.axis(axis, rank)? as i64..rank as i64).collect())
}

// (x - mean) / (sqrt(variance) + 1e-9)
pub(super) fn mean_variance_normalization(b: &Build) -> Formula {
    let x = b.x()?;
    let axes = b.node.attrs.ints("axes").unwrap_or(&[0, 2, 3]);
    let mean = b.reduce("ReduceMean", x, axes);
    let centred = b.sub(x, mean);
    let variance = b.reduce("ReduceMean", b.mul(centred, centred), axes);
    let deviation = b.add(b.op("Sqrt", &[variance]), b.like(x, 1e-9)?);
    Ok(b.div(centred, deviation))
}

// x / |x|_p along an axis, and 0 where that norm is 0
pub(super) fn lp_normalization(b: &Build) -> Formula {
    let x = b.x()?;
    let name = match b.int("p", 2) {
        1 => "ReduceL1",
        2 => "ReduceL2",
        _ => return Err(Skip::Refused("p is neither 1 nor 2")),
    };
    let norm = b.reduce(name, x, &[b.int("axis", -1)]);
    let (zero, one) = (b.like(x, 0.0)?, b.like(x, 1.0)?);
    let divisor = b.op("Where", &[b.op("Equal", &[norm, zero]), one, norm]);
    Ok(b.div(x, divisor))
}

// x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels)^beta
pub(super) fn lrn(b: &Build) -> Formula {
    let x = b.x()?;
    let size = b.int("size", 0);
    if size < 1 || b.rank(x)? < 3 {
        return Err(Skip::Refused(
            "size is not positive, or x has no spatial axes",
        ));
    }
    let channels = b.shape(x)?[1]
        .value()
        .ok_or(Skip::Refused("a size is unknown"))?;
    // The mean over channels is a pool of one column per channel; zeros count beyond the ends.
    let columns = b.reshape(b.mul(x, x), &[0, 1, channels, -1]);
    let before = (size - 1) / 2;
    let mean = b.op_with(
        "AveragePool",
        &[columns],
        [
            ("kernel_shape", Attr::Ints(vec![size, 1])),
            ("pads", Attr::Ints(vec![before, 0, size - 1 - before, 0])),
            ("strides", Attr::Ints(vec![1, 1])),
            ("count_include_pad", Attr::Int(1)),
        ],
    );
    let scaled = b.mul(b.reshape_like(mean, x), b.like(x, b.float("alpha", 1e-4))?);
    let base = b.add(scaled, b.like(x, b.float("bias", 1.0))?);
    Ok(b.div(x, b.op("Pow", &[base, b.like(x, b.float("beta", 0.75))?])))
}
