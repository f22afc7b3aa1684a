//! Sums of products.

use super::super::class::Place;
use super::super::site::{Site, Verdict};
use crate::tensor::Dim;

pub(super) fn matmul(site: &Site) -> Verdict {
    Ok(vec![product(site, 0, 1, [false, false])?])
}

/// Of inputs a and b, their last two axes swapped where `transposed` says so.
fn product(site: &Site, a: usize, b: usize, transposed: [bool; 2]) -> Result<Place, String> {
    let (a_rank, b_rank) = (site.rank(a)?, site.rank(b)?);
    if a_rank == 0 || b_rank == 0 {
        return Err("an operand is a scalar".into());
    }
    let lead = a_rank.max(b_rank).max(2) - 2;
    // Axes from the end: those before the last two are batches.
    let behind = |place: &Place, rank: usize| rank - 1 - place.axis;
    let part = |place: &Place, rank: usize, is_b: bool| match behind(place, rank) {
        from_end @ 2.. => Part::Batch(lead + 1 - from_end),
        _ if rank == 1 => Part::Inner,
        from_end if (from_end == 0) == (is_b != transposed[usize::from(is_b)]) => Part::Outer,
        _ => Part::Inner,
    };
    let n_outer_of_a = usize::from(a_rank > 1);
    let place = match (site.place(a), site.place(b)) {
        (None, None) => return Err("no operand carries rows".into()),
        (Some(place), None) => match part(&place, a_rank, false) {
            Part::Batch(axis) => place.moved(axis),
            Part::Outer => return Ok(place.moved(lead)),
            Part::Inner => return Err(sums()),
        },
        (None, Some(place)) => match part(&place, b_rank, true) {
            Part::Batch(axis) => place.moved(axis),
            Part::Outer => return Ok(place.moved(lead + n_outer_of_a)),
            Part::Inner => return Err(sums()),
        },
        (Some(place), Some(_)) => match part(&place, a_rank, false) {
            Part::Batch(axis) => place.moved(axis),
            Part::Outer => return Err("every row meets every row".into()),
            Part::Inner => return Err(sums()),
        },
    };
    site.expect_fit(a, &place, lead + 2)?;
    site.expect_fit(b, &place, lead + 2)?;
    Ok(place)
}

enum Part {
    Batch(usize),
    /// The axis that the result has from this operand.
    Outer,
    /// The axis that is summed over.
    Inner,
}

fn sums() -> String {
    "it sums over the rows".into()
}

pub(super) fn gemm(site: &Site) -> Verdict {
    let transposed = ["transA", "transB"].map(|name| site.int(name, 0) != 0);
    let place = product(site, 0, 1, transposed)?;
    site.expect_fit(2, &place, 2)?;
    Ok(vec![place])
}

fn expect_single(site: &Site, inputs: &[usize]) -> Result<(), String> {
    match inputs.iter().find(|&&idx| !site.is_single(idx)) {
        Some(idx) => Err(format!("input {idx} is more than one number")),
        None => Ok(()),
    }
}

pub(super) fn matmul_integer(site: &Site) -> Verdict {
    expect_single(site, &[2])?;
    if site.place(1).is_some() {
        expect_single(site, &[3])?;
    }
    matmul(site)
}

pub(super) fn qlinear_matmul(site: &Site) -> Verdict {
    expect_single(site, &[1, 2, 6, 7])?;
    if site.place(3).is_some() {
        expect_single(site, &[4, 5])?;
    }
    Ok(vec![product(site, 0, 3, [false, false])?])
}

pub(super) fn qgemm(site: &Site) -> Verdict {
    expect_single(site, &[1, 2, 7, 8])?;
    let transposed = ["transA", "transB"].map(|name| site.int(name, 0) != 0);
    let place = product(site, 0, 3, transposed)?;
    site.expect_fit(6, &place, 2)?;
    Ok(vec![place])
}

/// Sums over the last axis, with weights that are the same for all.
pub(super) fn by_features(site: &Site) -> Verdict {
    let place = site.need(0)?;
    if place.axis + 1 == site.rank(0)? {
        return Err(sums());
    }
    Ok(vec![place])
}

pub(super) fn einsum(site: &Site) -> Verdict {
    let equation = site.node.attrs.str("equation").unwrap_or_default();
    let equation: String = equation.split_whitespace().collect();
    if equation.contains('.') {
        return Err("its equation has an ellipsis".into());
    }
    let (terms, result) = equation
        .split_once("->")
        .ok_or("its equation has no result")?;
    let terms: Vec<&str> = terms.split(',').collect();
    let mut found: Option<(char, Place)> = None;
    for (idx, term) in terms.iter().enumerate() {
        let Some(place) = site.place(idx) else {
            continue;
        };
        let label = term
            .chars()
            .nth(place.axis)
            .ok_or("its equation has too few labels")?;
        if found
            .as_ref()
            .is_some_and(|(known, own)| *known != label || *own != place.moved(0))
        {
            return Err("its inputs have their rows at different places".into());
        }
        found = Some((label, place.moved(0)));
    }
    let (label, place) = found.ok_or("no operand carries rows")?;
    for (idx, term) in terms.iter().enumerate() {
        let n_labels = term.matches(label).count();
        let carried = site.place(idx).is_some();
        let is_one = term
            .chars()
            .position(|each| each == label)
            .is_none_or(|axis| {
                site.shape(idx)
                    .is_ok_and(|shape| shape.get(axis) == Some(&Dim::Size(1)))
            });
        if (carried && n_labels != 1) || (!carried && !is_one) {
            return Err(format!(
                "input {idx} has {label:?} elsewhere than along the rows"
            ));
        }
    }
    let axis = result
        .chars()
        .position(|each| each == label)
        .ok_or_else(sums)?;
    Ok(vec![place.moved(axis)])
}
