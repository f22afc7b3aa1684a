//! The same elements under another shape, and elements spread over one.

use super::super::class::{Place, Product};
use super::super::site::{Site, Verdict};
use crate::tensor::{Dim, Shape};

pub(super) fn reshape(site: &Site) -> Verdict {
    if site.is_extent(1) {
        site.extents(1)?;
    }
    // A caller would have to know how many elements there are once rows are joined.
    site.dims(1).ok_or("its shape is unknown")?;
    Ok(vec![regrouped(site)?])
}

pub(super) fn flatten(site: &Site) -> Verdict {
    Ok(vec![regrouped(site)?])
}

/// The first axis of the result that has the number of rows in it takes them, if as many elements
/// come before each row there as in the input.
fn regrouped(site: &Site) -> Result<Place, String> {
    let place = site.need(0)?;
    let (from, to) = (site.shape(0)?, site.out_shape(0)?);
    let axis = to.iter().position(|dim| site.mentions(dim));
    let axis =
        axis.ok_or_else(|| format!("{from} becomes {to}, which has no axis for the rows"))?;
    let split = || {
        let before = Product::of(&from[..place.axis])?.times(&place.outer)?;
        let outer = before.over(&Product::of(&to[..axis])?)?;
        let n_rows = Product::of(&[Dim::symbol(site.batch)])?;
        let inner = Product::of(&to[axis..=axis])?.over(&n_rows)?.over(&outer)?;
        Some(Place { axis, outer, inner })
    };
    split().ok_or_else(|| format!("{from} becomes {to}, which takes rows apart"))
}

pub(super) fn squeeze(site: &Site) -> Verdict {
    let (place, shape) = (site.need(0)?, site.shape(0)?);
    let axes: Vec<usize> = match site.has(1) {
        true => {
            let named = site.ints(1).ok_or("its axes are unknown")?;
            let axes = named.iter().map(|&axis| site.axis(axis, shape.rank()));
            axes.collect::<Result<_, _>>()?
        }
        // Without axes it also takes that of the rows where there is one row.
        false => return Err("it names no axes, and there may be one row".into()),
    };
    if axes.contains(&place.axis) {
        return Err(format!(
            "it takes axis {} away, which is that of the rows",
            place.axis
        ));
    }
    let n_before = axes.iter().filter(|&&axis| axis < place.axis).count();
    Ok(vec![place.moved(place.axis - n_before)])
}

pub(super) fn unsqueeze(site: &Site) -> Verdict {
    let place = site.need(0)?;
    let named = site.ints(1).ok_or("its axes are unknown")?;
    let out_rank = site.rank(0)? + named.len();
    let axes = named.iter().map(|&axis| site.axis(axis, out_rank));
    let axes: Vec<usize> = axes.collect::<Result<_, _>>()?;
    let mut kept = (0..out_rank).filter(|axis| !axes.contains(axis));
    let axis = kept.nth(place.axis).ok_or("it names an axis twice")?;
    Ok(vec![place.moved(axis)])
}

pub(super) fn transpose(site: &Site) -> Verdict {
    let (place, rank) = (site.need(0)?, site.rank(0)?);
    let axis = match site.node.attrs.ints("perm") {
        None => rank - 1 - place.axis,
        Some(perm) => {
            let from = |&axis: &i64| usize::try_from(axis) == Ok(place.axis);
            perm.iter()
                .position(from)
                .ok_or("its permutation is none")?
        }
    };
    Ok(vec![place.moved(axis)])
}

pub(super) fn expand(site: &Site) -> Verdict {
    if site.is_extent(1) {
        site.extents(1)?;
    }
    let (from, to) = (site.shape(0)?, site.out_shape(0)?);
    let lead = to.rank().checked_sub(from.rank());
    let lead = lead.ok_or("the target has fewer axes than the input")?;
    if let Some(place) = site.place(0) {
        return Ok(vec![place.moved(place.axis + lead)]);
    }
    let place = spread(site, to)?;
    site.expect_fit(0, &place, to.rank())?;
    Ok(vec![place])
}

pub(super) fn constant_of_shape(site: &Site) -> Verdict {
    site.extents(0)?;
    Ok(vec![spread(site, site.out_shape(0)?)?])
}

/// Where a result has its rows that is the same for every row.
fn spread(site: &Site, to: &Shape) -> Result<Place, String> {
    let axis = to.iter().position(|dim| site.mentions(dim));
    let axis = axis.ok_or("the number of rows is no size of the result")?;
    let n_rows = Product::of(&[Dim::symbol(site.batch)]);
    let inner = Product::of(&to[axis..=axis]).zip(n_rows);
    let inner = inner.and_then(|(size, n_rows)| size.over(&n_rows));
    let inner = inner.ok_or_else(|| format!("axis {axis} of the result is {}", to[axis]))?;
    Ok(Place {
        inner,
        ..Place::plain(axis)
    })
}

/// The numbers of the rows.
pub(super) fn range(site: &Site) -> Verdict {
    let counts = site.ints(0).as_deref() == Some(&[0]) && site.ints(2).as_deref() == Some(&[1]);
    if !counts || site.dims(1) != Some(vec![Dim::symbol(site.batch)]) {
        return Err("it counts further than the rows".into());
    }
    Ok(vec![Place::plain(0)])
}
