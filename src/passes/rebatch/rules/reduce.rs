//! What runs along axes, or sums over them.

use super::super::site::{Site, Verdict, expect_other};

/// Operators along the axis of an attribute, the last one where it is not given.
pub(super) const ALONG_AXIS: &[&str] = &[
    "Hardmax",
    "LogSoftmax",
    "LpNormalization",
    "Softmax",
    "TopK",
];

pub(super) fn along_axis(site: &Site) -> Verdict {
    let place = site.need(0)?;
    expect_other(site.axis_attr(-1)?, &place)?;
    Ok(vec![place])
}

pub(super) fn arg(site: &Site) -> Verdict {
    let (place, axis) = (site.need(0)?, site.axis_attr(0)?);
    expect_other(axis, &place)?;
    let is_gone = site.int("keepdims", 1) == 0 && axis < place.axis;
    Ok(vec![place.moved(place.axis - usize::from(is_gone))])
}

pub(super) const REDUCTIONS: &[&str] = &[
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];

pub(super) fn reduction(site: &Site) -> Verdict {
    let (place, rank) = (site.need(0)?, site.rank(0)?);
    let named = match site.has(1) {
        true => site.ints(1).ok_or("its axes are unknown")?,
        false => Vec::new(),
    };
    if named.is_empty() {
        return match site.int("noop_with_empty_axes", 0) {
            0 => Err("it reduces over all axes, that of the rows too".into()),
            _ => Ok(vec![place]),
        };
    }
    let mut n_gone = 0;
    for axis in named {
        let axis = site.axis(axis, rank)?;
        expect_other(axis, &place)?;
        n_gone += usize::from(axis < place.axis);
    }
    let keeps = site.int("keepdims", 1) != 0;
    Ok(vec![
        place.moved(place.axis - if keeps { 0 } else { n_gone }),
    ])
}

pub(super) fn cumulate(site: &Site) -> Verdict {
    let place = site.need(0)?;
    let axis = match site.ints(1).as_deref() {
        Some(&[axis]) => site.axis(axis, site.rank(0)?)?,
        _ => return Err("its axis is unknown".into()),
    };
    expect_other(axis, &place)?;
    Ok(vec![place])
}

/// The last two axes are a matrix.
pub(super) fn matrices(site: &Site) -> Verdict {
    let place = site.need(0)?;
    if place.axis + 2 >= site.rank(0)? {
        return Err("it takes the rows for a part of a matrix".into());
    }
    Ok(vec![place])
}
