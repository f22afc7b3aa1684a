//! What moves elements.

use super::{MAX_GROUPS, elements, launches_exactly, one_type, require, sizes};
use crate::backend::support::{Facts, Verdict};
use crate::graph::Source;
use crate::tensor::{DType, Shape};

/// WebGPU promises eight storage buffers to a shader.
const MAX_PARTS: usize = 7;

/// Operators whose further inputs are about what they do.
pub(super) fn one_input(facts: &Facts) -> Verdict {
    require(facts.node.inputs.len() == 1, "it has a second input")
}

pub(super) fn reshape(facts: &Facts) -> Verdict {
    let shape = facts
        .constant(1)
        .filter(|shape| shape.dtype() == DType::I64);
    require(shape.is_some(), "the shape is not constant")
}

pub(super) fn transpose(facts: &Facts) -> Verdict {
    require(
        facts.rank(0).is_some_and(|rank| rank > 0),
        "the input is a scalar",
    )
}

pub(super) fn concat(facts: &Facts) -> Verdict {
    one_type(facts)?;
    let sizes = sizes(facts, 0)?;
    // The attribute is required; without it no axis is in range.
    let axis = facts
        .axis("axis", i64::MAX, sizes.len())
        .ok_or("the axis is outside the rank")?;
    let n_parts = facts.node.inputs.len();
    require(n_parts <= MAX_PARTS, "it has more than seven inputs")?;
    let is_in_order = n_parts == 1 || elements(&sizes[..axis]) == 1;
    require(is_in_order, "dimensions before the axis are not 1")
}

/// wonnx calculates what is before a `Split` a second time, in a form that is wrong for some
/// operators; where nothing is before it, that does no harm.
pub(super) fn split(facts: &Facts) -> Verdict {
    let x = facts.node.input(0).ok_or("it has no input")?;
    let is_input = matches!(facts.graph.value(x).source, Source::Input { .. });
    require(is_input, "a node makes its input")?;
    require(!facts.has_input(1), "the lengths of the parts are an input")?;
    require(
        facts.node.attrs.get("split").is_none(),
        "the lengths of the parts are an attribute",
    )?;
    let n_parts = facts.node.outputs.len();
    require(n_parts <= MAX_PARTS, "it has more than seven outputs")?;
    let sizes = sizes(facts, 0)?;
    let axis = facts
        .axis("axis", 0, sizes.len())
        .ok_or("the axis is outside the rank")?;
    let are_equal = sizes[axis].is_multiple_of(n_parts)
        && (0..n_parts).all(|idx| {
            let part = facts.output_sizes(idx);
            part.is_some_and(|part| part.get(axis) == Some(&(sizes[axis] / n_parts)))
        });
    require(are_equal, "the parts differ in length")
}

pub(super) fn gather(facts: &Facts) -> Verdict {
    require(facts.int("axis", 0) == 0, "the axis is not 0")?;
    let is_index = matches!(facts.dtype(1), Some(DType::I32 | DType::I64));
    require(is_index, "the indices are not integers")?;
    let (data, indices) = (sizes(facts, 0)?, sizes(facts, 1)?);
    let (_, row) = data.split_first().ok_or("the data is a scalar")?;
    let row = elements(row);
    let at_once = [4, 2, 1]
        .into_iter()
        .find(|&n| row.is_multiple_of(n))
        .unwrap_or(1);
    require(
        launches_exactly(row / at_once),
        "the length of a row does not suit one launch",
    )?;
    require(
        launches_exactly(elements(&indices)),
        "the number of indices does not suit one launch",
    )
}

pub(super) fn one_hot(facts: &Facts) -> Verdict {
    require(facts.int("axis", -1) == -1, "the new axis is not the last")?;
    let indices = sizes(facts, 0)?;
    require(
        elements(&indices) <= MAX_GROUPS,
        "it has more than 65,535 indices",
    )?;
    let depth = facts.constant(1).ok_or("the depth is not constant")?;
    require(
        depth.dtype() == DType::I32 && depth.len() == 1,
        "the depth is not one i32",
    )?;
    let values = facts.constant(2).ok_or("the values are not constant")?;
    require(
        values.dtype() == DType::F32 && values.len() == 2,
        "the values are not two f32",
    )
}

pub(super) fn pad(facts: &Facts) -> Verdict {
    require(
        facts.str("mode", "constant") == "constant",
        "the mode is not constant",
    )?;
    require(facts.node.inputs.len() == 2, "it has a value or axes")?;
    require(
        facts.node.attrs.get("constant_value").is_none(),
        "it has a value or axes",
    )?;
    let rank = facts.rank(0).ok_or("a rank is unknown")?;
    require(rank > 0, "the input is a scalar")?;
    let pads = facts.constant(1).filter(|pads| pads.dtype() == DType::I64);
    let pads = pads
        .and_then(|pads| pads.to_i64s())
        .ok_or("the pads are not constant")?;
    require(pads.len() == 2 * rank, "the pads are not two for each axis")?;
    require(pads.iter().all(|&pad| pad >= 0), "a pad is negative")?;
    require(
        pads[rank..].iter().all(|&pad| pad <= 1),
        "an end pad is above 1",
    )
}

pub(super) fn resize(facts: &Facts) -> Verdict {
    require(
        facts.str("mode", "nearest") == "nearest",
        "the mode is not nearest",
    )?;
    let position = facts.str("coordinate_transformation_mode", "half_pixel");
    let is_floor = position == "asymmetric" && facts.str("nearest_mode", "") == "floor";
    require(is_floor, "pixels are not found by asymmetric and floor")?;
    let attrs = &facts.node.attrs;
    require(attrs.get("axes").is_none(), "axes are given")?;
    require(facts.int("antialias", 0) == 0, "it is antialiased")?;
    let has_regions = facts.has_input(1) && facts.constant(1).is_none();
    require(!has_regions, "the second input is not constant")?;
    require(
        facts.node.inputs.len() == 3,
        "scales are not its last input",
    )?;
    let scales = facts.constant(2).ok_or("the scales are not constant")?;
    let scales = scales.elements::<f32>().ok_or("the scales are not f32")?;
    let (old, new) = (
        sizes(facts, 0)?,
        facts.output_sizes(0).ok_or(super::UNKNOWN_SIZE)?,
    );
    require(
        scales.len() == old.len(),
        "the scales are not one for each axis",
    )?;
    let grown: Option<Vec<usize>> = old
        .iter()
        .zip(&*scales)
        .map(|(&size, &scale)| {
            let is_whole = (1.0..=65_536.0).contains(&scale) && scale.fract() == 0.0;
            is_whole.then_some(size * scale as usize)
        })
        .collect();
    let grown = grown.ok_or("a scale is not a whole number")?;
    require(
        Shape::known(&grown) == Shape::known(&new),
        "the output has another shape than the scales give",
    )
}
