//! Reductions and softmax.

use super::{elements, launches_exactly, require, sizes};
use crate::backend::support::{Facts, Verdict};
use crate::tensor::Shape;

pub(super) fn reduce(facts: &Facts) -> Verdict {
    let sizes = sizes(facts, 0)?;
    let reduced = axes(facts, sizes.len())?;
    let kept: Vec<usize> = (0..sizes.len())
        .filter(|axis| !reduced.contains(axis))
        .collect();
    let is_one = |axis: &usize| sizes[*axis] == 1;
    let last_larger = kept.iter().rposition(|axis| !is_one(axis));
    // The shader forgets to take such an axis's share from the index.
    let is_lost = last_larger.is_some_and(|last| kept.len() > last + 1);
    require(!is_lost, "the last kept axis has the size 1")
}

fn axes(facts: &Facts, rank: usize) -> Result<Vec<usize>, &'static str> {
    let given = match facts.node.attrs.ints("axes") {
        Some(axes) => axes.to_vec(),
        None if !facts.has_input(1) => return Err("its axes are not given"),
        None => facts
            .constant(1)
            .and_then(|axes| axes.to_i64s())
            .ok_or("its axes are not constant")?,
    };
    require(!given.is_empty(), "its axes are not given")?;
    let axes = given.iter().map(|&axis| Shape::unknown(rank).axis(axis));
    axes.collect::<Option<_>>()
        .ok_or("an axis is outside the rank")
}

pub(super) fn softmax(facts: &Facts) -> Verdict {
    let sizes = sizes(facts, 0)?;
    let axis = facts
        .axis("axis", -1, sizes.len())
        .ok_or("the axis is outside the rank")?;
    let (before, after) = (elements(&sizes[..axis]), elements(&sizes[axis + 1..]));
    let fits = launches_exactly(before) && launches_exactly(after);
    require(fits, "the number of rows does not suit one launch")
}
