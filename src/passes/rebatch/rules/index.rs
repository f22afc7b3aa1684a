//! Parts of tensors: joined, cut out, picked by index.

use super::super::class::Content;
use super::super::mend::FAR;
use super::super::site::{Site, Verdict, expect_other};
use crate::tensor::Dim;

pub(super) fn concat(site: &Site) -> Verdict {
    let n_inputs = site.node.inputs.len();
    let carrier = (0..n_inputs).find_map(|idx| site.place(idx));
    let place = carrier.ok_or("no input carries rows")?;
    for idx in 0..n_inputs {
        let own = site.place(idx);
        let own = own.ok_or_else(|| format!("input {idx} has not as many rows as the others"))?;
        if own != place {
            return Err("its inputs have their rows at different places".into());
        }
    }
    expect_other(site.axis_attr(0)?, &place)?;
    Ok(vec![place])
}

/// True where a `Concat` along the last axis puts the number of the row before the rest.
pub(super) fn puts_number_first(site: &Site) -> bool {
    let rest_is_row =
        || (1..site.node.inputs.len()).all(|idx| site.content(idx) == Some(Content::Row));
    let first_is_one = || {
        let shape = site.shape(0).ok()?;
        let is_last = site.axis_attr(0).ok()? + 1 == shape.rank();
        Some(is_last && shape.last() == Some(&Dim::Size(1)))
    };
    site.content(0) == Some(Content::Number) && rest_is_row() && first_is_one() == Some(true)
}

pub(super) fn split(site: &Site) -> Verdict {
    let place = site.need(0)?;
    expect_other(site.axis_attr(0)?, &place)?;
    Ok(vec![place])
}

pub(super) fn slice(site: &Site) -> Verdict {
    let (place, rank) = (site.need(0)?, site.rank(0)?);
    let n_axes = site
        .shape(1)?
        .first()
        .and_then(Dim::size)
        .ok_or("its axes are unknown")?;
    let axes: Vec<usize> = match site.has(3) {
        true => {
            let named = site.ints(3).ok_or("its axes are unknown")?;
            let axes = named.iter().map(|&axis| site.axis(axis, rank));
            axes.collect::<Result<_, _>>()?
        }
        false => (0..n_axes).collect(),
    };
    let at = axes.iter().position(|&axis| axis == place.axis);
    for idx in [1, 2] {
        if !site.is_extent(idx) {
            continue;
        }
        let bounds = site.extents(idx)?;
        let varies = |(entry, dim): (usize, &Dim)| Some(entry) != at && site.mentions(dim);
        if bounds.iter().enumerate().any(varies) {
            return Err("a bound is the number of rows".into());
        }
    }
    if let Some(at) = at {
        let bound = |idx: usize| site.dims(idx)?.get(at).cloned();
        let size = &site.shape(0)?[place.axis];
        let starts = bound(1) == Some(Dim::Size(0));
        let ends = bound(2).is_some_and(|end| end == *size || is_far(&end));
        let steps = !site.has(4) || bound(4) == Some(Dim::Size(1));
        if !(starts && ends && steps) {
            return Err(format!("it takes some of the rows on axis {}", place.axis));
        }
    }
    Ok(vec![place])
}

fn is_far(end: &Dim) -> bool {
    end.value().is_some_and(|end| end >= FAR)
}

pub(super) fn pad(site: &Site) -> Verdict {
    let (place, rank) = (site.need(0)?, site.rank(0)?);
    let axes: Vec<usize> = match site.has(3) {
        true => {
            let named = site.ints(3).ok_or("its axes are unknown")?;
            let axes = named.iter().map(|&axis| site.axis(axis, rank));
            axes.collect::<Result<_, _>>()?
        }
        false => (0..rank).collect(),
    };
    let Some(at) = axes.iter().position(|&axis| axis == place.axis) else {
        return Ok(vec![place]);
    };
    let pads = site.dims(1).ok_or("its pads are unknown")?;
    for pad in [pads.get(at), pads.get(at + axes.len())] {
        if pad != Some(&Dim::Size(0)) {
            return Err(format!(
                "it pads axis {}, which is that of the rows",
                place.axis
            ));
        }
    }
    Ok(vec![place])
}

pub(super) fn tile(site: &Site) -> Verdict {
    let place = site.need(0)?;
    match site
        .dims(1)
        .and_then(|repeats| repeats.get(place.axis).cloned())
    {
        Some(Dim::Size(1)) => Ok(vec![place]),
        _ => Err(format!(
            "it repeats axis {}, which is that of the rows",
            place.axis
        )),
    }
}

/// data: [a.., size, b..], indices: [i..] -> [a.., i.., b..]
pub(super) fn gather(site: &Site) -> Verdict {
    let axis = site.axis_attr(0)?;
    match (site.place(0), site.place(1)) {
        (Some(_), Some(_)) => Err("every row picks from all rows".into()),
        (None, Some(place)) => Ok(vec![place.moved(axis + place.axis)]),
        (Some(place), None) => {
            if axis == place.axis {
                return Err(format!("it picks rows on axis {axis}"));
            }
            let shift = if axis < place.axis { site.rank(1)? } else { 1 };
            Ok(vec![place.moved(place.axis + shift - 1)])
        }
        (None, None) => Err("no input carries rows".into()),
    }
}

pub(super) fn gather_elements(site: &Site) -> Verdict {
    let (place, indices) = (site.need(0)?, site.need(1)?);
    if place != indices {
        return Err("its inputs have their rows at different places".into());
    }
    expect_other(site.axis_attr(0)?, &place)?;
    Ok(vec![place])
}

/// data: [b.., s.., rest..], indices: [b.., i.., len s] -> [b.., i.., rest..]
pub(super) fn gather_nd(site: &Site) -> Verdict {
    let n_batch =
        usize::try_from(site.int("batch_dims", 0)).map_err(|_| "its batch_dims are none")?;
    let last = site
        .rank(1)?
        .checked_sub(1)
        .ok_or("its indices are a scalar")?;
    let Some(indices) = site.place(1) else {
        return Err("it picks rows".into());
    };
    if indices.axis == last {
        return Err("a row of its indices is no index".into());
    }
    match site.place(0) {
        None if indices.axis >= n_batch => Ok(vec![indices]),
        Some(data) if data == indices && data.axis < n_batch => Ok(vec![data]),
        Some(data) => {
            let picks_own_row = site.content(1) == Some(Content::NumberFirst)
                && site.content(0) == Some(Content::Row)
                && n_batch == 0
                && data.axis == 0
                && data.is_plain();
            if !picks_own_row {
                return Err("every row picks from all rows".into());
            }
            Ok(vec![indices])
        }
        None => Err("its data has not as many rows as its indices".into()),
    }
}

pub(super) fn scatter_elements(site: &Site) -> Verdict {
    let place = site.need(0)?;
    if site.need(1)? != place || site.need(2)? != place {
        return Err("its inputs have their rows at different places".into());
    }
    expect_other(site.axis_attr(0)?, &place)?;
    Ok(vec![place])
}

pub(super) fn one_hot(site: &Site) -> Verdict {
    let place = site.need(0)?;
    let axis = site.axis(site.int("axis", -1), site.rank(0)? + 1)?;
    Ok(vec![
        place.moved(place.axis + usize::from(axis <= place.axis)),
    ])
}
