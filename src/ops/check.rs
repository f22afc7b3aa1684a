//! Checks that name what they check: ranks, sizes that must agree, and counts in attributes.

use super::{Attrs, Op, OpDef, rules};
use crate::error::{Error, Result};
use crate::tensor::{Dim, Shape};

/// A line of a `DEFS` table for one of ONNX Runtime's own operators.
pub(super) const fn microsoft(
    name: &'static str,
    parse: fn(&Attrs, i64) -> Result<Box<dyn Op>>,
    cases: &'static [&'static str],
) -> OpDef {
    OpDef {
        domain: "com.microsoft",
        name,
        parse,
        cases,
    }
}

/// # Errors
/// `SHAPE_MISMATCH` when the rank is another.
pub(super) fn rank(what: &str, shape: &Shape, rank: usize) -> Result<()> {
    if shape.rank() == rank {
        return Ok(());
    }
    let why = format!("{what} is {shape}, expected rank {rank}");
    Err(Error::shape("", why))
}

/// # Errors
/// `SHAPE_MISMATCH` when the rank is smaller.
pub(super) fn min_rank(what: &str, shape: &Shape, rank: usize) -> Result<()> {
    if shape.rank() >= rank {
        return Ok(());
    }
    let why = format!("{what} is {shape}, expected rank {rank} or more");
    Err(Error::shape("", why))
}

/// What is known of a dimension that two sources give.
///
/// # Errors
/// `SHAPE_MISMATCH` when they are different numbers.
pub(super) fn meet(what: &str, a: &Dim, b: &Dim) -> Result<Dim> {
    rules::unify(a, b).ok_or_else(|| Error::shape("", format!("{what}: {a} and {b}")))
}

/// [`meet`] for every dimension of a shape that may be unknown.
///
/// # Errors
/// `SHAPE_MISMATCH` when the rank or a dimension is another.
pub(super) fn meet_shape(what: &str, shape: Option<&Shape>, dims: &mut [Dim]) -> Result<()> {
    let Some(shape) = shape else { return Ok(()) };
    rank(what, shape, dims.len())?;
    for (axis, (dim, given)) in dims.iter_mut().zip(shape.iter()).enumerate() {
        *dim = meet(&format!("axis {axis} of {what}"), given, dim)?;
    }
    Ok(())
}

/// # Errors
/// `SHAPE_MISMATCH` when `shape` cannot be stretched to `target`.
pub(super) fn broadcasts_to(what: &str, shape: &[Dim], target: &[Dim]) -> Result<()> {
    let fits = shape.len() <= target.len()
        && shape
            .iter()
            .rev()
            .zip(target.iter().rev())
            .all(|(dim, goal)| match (dim, goal) {
                (Dim::Size(x), Dim::Size(y)) => *x == 1 || x == y,
                _ => true,
            });
    if fits {
        return Ok(());
    }
    let (shape, target) = (Shape(shape.to_vec()), Shape(target.to_vec()));
    let why = format!("{what} {shape} does not broadcast to {target}");
    Err(Error::shape("", why))
}

/// An integer attribute that counts something, from `min` on.
///
/// # Errors
/// `MODEL_PARSE` when it is smaller, or beyond 32 bits.
pub(super) fn count(attrs: &Attrs, name: &str, min: i64) -> Result<Option<i64>> {
    attrs.int(name).map(|n| bounded(name, n, min)).transpose()
}

/// A list of such integers; an empty one counts as left out.
///
/// # Errors
/// `MODEL_PARSE` when one is smaller than `min`, or beyond 32 bits.
pub(super) fn counts(attrs: &Attrs, name: &str, min: i64) -> Result<Vec<i64>> {
    let list = attrs.ints(name).unwrap_or_default();
    list.iter().map(|&n| bounded(name, n, min)).collect()
}

// Sums and products of two such numbers fit 64 bits.
fn bounded(name: &str, n: i64, min: i64) -> Result<i64> {
    if (min..=i64::from(i32::MAX)).contains(&n) {
        return Ok(n);
    }
    let why = format!("attribute {name} is {n}, expected {min} or more");
    Err(Error::parse("", why))
}

/// True for an attribute that is there and not 0.
pub(super) fn flag(attrs: &Attrs, name: &str) -> bool {
    attrs.int(name).unwrap_or(0) != 0
}

#[cfg(test)]
mod tests {
    use super::super::Attr;
    use super::*;

    #[test]
    fn stretching_goes_one_way() {
        let (n, two, one) = (Dim::symbol("n"), Dim::Size(2), Dim::Size(1));
        assert!(broadcasts_to("b", std::slice::from_ref(&one), &[two.clone(), n.clone()]).is_ok());
        assert!(broadcasts_to("b", &[n], std::slice::from_ref(&two)).is_ok());
        let error = broadcasts_to("b", &[two], &[one]).unwrap_err();
        assert_eq!(error.to_string(), "b [2] does not broadcast to [1]");
    }

    #[test]
    fn the_better_known_dimension_stays() {
        let (n, two) = (Dim::symbol("n"), Dim::Size(2));
        assert_eq!(meet("", &n, &two).unwrap(), two);
        assert_eq!(meet("", &Dim::Unknown, &n).unwrap(), n);
        let error = meet("rows", &two, &Dim::Size(3)).unwrap_err();
        assert_eq!(error.to_string(), "rows: 2 and 3");
    }

    #[test]
    fn counts_stay_within_bounds() {
        let mut attrs = Attrs::default();
        attrs.set("strides", Attr::Ints(vec![2, i64::MAX]));
        attrs.set("group", Attr::Int(0));
        assert!(counts(&attrs, "strides", 1).is_err());
        assert!(count(&attrs, "group", 1).is_err());
        assert_eq!(count(&attrs, "absent", 1).unwrap(), None);
    }
}
