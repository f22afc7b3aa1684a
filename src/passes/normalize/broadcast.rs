//! Broadcasting before version 7: one-sided, switched on and placed by attributes.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;

/// `Add` and its like before 7: with `broadcast = 1`, b's dimensions are those of a from `axis`
/// on, or the last ones. Today's rule aligns at the end, so b gets ones behind.
pub(super) fn binary(b: &Build) -> Formula {
    let (x, mut y) = (b.x()?, b.input(1)?);
    let mut attrs = b.node.attrs.clone();
    let axis = attrs.int("axis");
    let is_on = attrs.int("broadcast").unwrap_or(0) != 0;
    attrs.remove("axis");
    attrs.remove("broadcast");
    if let (Some(axis), true) = (axis, is_on) {
        let (x_rank, y_rank) = (b.rank(x)?, b.rank(y)?);
        let axis = if x_rank == 0 {
            0
        } else {
            b.axis(axis, x_rank)?
        };
        let n_behind = x_rank.checked_sub(axis + y_rank);
        y = with_ones_behind(
            b,
            y,
            y_rank,
            n_behind.ok_or(Skip::Refused("axis is too large"))?,
        );
    }
    b.again(&b.node.op.name, &[x, y], attrs)
}

/// `Gemm` before 7: `broadcast` says whether C may have fewer dimensions; today it always may.
pub(super) fn gemm(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    attrs.remove("broadcast").ok_or(Skip::NoMatch)?;
    b.again("Gemm", &b.node.inputs, attrs)
}

/// `PRelu` before 7: a slope of rank 1 belongs to axis 1.
pub(super) fn prelu(b: &Build) -> Formula {
    let (x, slope) = (b.x()?, b.input(1)?);
    let (x_rank, slope_rank) = (b.rank(x)?, b.rank(slope)?);
    if slope_rank != 1 || x_rank <= 2 || b.shape(slope)?.elements().value() == Some(1) {
        return Err(Skip::NoMatch);
    }
    Ok(b.op("PRelu", &[x, with_ones_behind(b, slope, 1, x_rank - 2)]))
}

fn with_ones_behind(b: &Build, x: ValueId, rank: usize, n_behind: usize) -> ValueId {
    if n_behind == 0 {
        return x;
    }
    let axes: Vec<i64> = (rank..rank + n_behind).map(|axis| axis as i64).collect();
    b.unsqueeze(x, &axes)
}
