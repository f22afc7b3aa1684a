//! Reductions.

use super::{Build, Formula, Skip, output_sizes};
use crate::ops::Attr;

/// A reduction with its axes written out, over a shape in which wonnx finds the kept ones: it
/// loses a kept axis of size 1 unless a larger one follows.
pub(super) fn reduce(b: &Build) -> Formula {
    let x = b.x()?;
    let sizes = b.sizes(x)?;
    let rank = sizes.len();
    if rank == 0 {
        return Err(Skip::Refused("wonnx reduces no scalars"));
    }
    let axes = match b.node.input(1) {
        Some(axes) => b.known_ints(axes)?,
        None => Vec::new(),
    };
    if axes.is_empty() && b.int("noop_with_empty_axes", 0) != 0 {
        return Err(Skip::Refused("it reduces nothing"));
    }
    let reduced: Vec<usize> = if axes.is_empty() {
        (0..rank).collect()
    } else {
        axes.iter()
            .map(|&axis| b.axis(axis, rank))
            .collect::<Result<_, _>>()?
    };
    let keepdims = b.int("keepdims", 1);
    let kept: Vec<usize> = (0..rank).filter(|axis| !reduced.contains(axis)).collect();
    let is_lost =
        |at: usize| sizes[kept[at]] == 1 && kept[at + 1..].iter().all(|&axis| sizes[axis] == 1);
    let all_ones = kept.iter().all(|&axis| sizes[axis] == 1);
    let name = &*b.node.op.name;
    if all_ones || !(0..kept.len()).any(is_lost) {
        let is_written = !axes.is_empty() && axes.iter().all(|&axis| axis >= 0);
        if is_written && b.node.attrs.int("noop_with_empty_axes").is_none() {
            return Err(Skip::NoMatch);
        }
        let axes: Vec<i64> = reduced.iter().map(|&axis| axis as i64).collect();
        let inputs = [x, b.ints(&axes)];
        return Ok(b.op_with(name, &inputs, [("keepdims", Attr::Int(keepdims))]));
    }
    // Without axes of size 1 nothing is lost; one is put back when there is nothing to reduce.
    let (mut squeezed, mut axes) = (Vec::new(), Vec::new());
    for (axis, &size) in sizes.iter().enumerate().filter(|(_, size)| **size != 1) {
        if reduced.contains(&axis) {
            axes.push(squeezed.len() as i64);
        }
        squeezed.push(size);
    }
    if axes.is_empty() {
        axes.push(squeezed.len() as i64);
        squeezed.push(1);
    }
    let inputs = [b.reshape(x, &squeezed), b.ints(&axes)];
    let y = b.op_with(name, &inputs, [("keepdims", Attr::Int(0))]);
    Ok(b.reshape(y, &output_sizes(b)?))
}

// x - m - log(sum exp(x - m)) with m = max x
pub(super) fn log_softmax(b: &Build) -> Formula {
    let x = b.x()?;
    let axis = b.axis(b.int("axis", -1), b.rank(x)?)? as i64;
    let centred = b.sub(x, b.reduce("ReduceMax", x, &[axis]));
    let sum = b.reduce("ReduceSum", b.op("Exp", &[centred]), &[axis]);
    Ok(b.sub(centred, b.op("Log", &[sum])))
}
