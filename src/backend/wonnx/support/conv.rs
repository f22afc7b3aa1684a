//! Convolutions, pools and batch normalisation.

use super::{MAX_GROUPS, elements, ints, one_type, require, sizes};
use crate::backend::support::{Facts, Verdict};

/// The attributes of a convolution or pool over two spatial axes.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
}

impl Window {
    fn of(facts: &Facts) -> Result<Window, &'static str> {
        over_pictures(facts)?;
        require(
            facts.node.attrs.get("auto_pad").is_none(),
            "auto_pad is given",
        )?;
        require(
            facts.node.attrs.get("kernel_shape").is_some(),
            "kernel_shape is not given",
        )?;
        ints(facts, "pads", 4, 0, Some(0))?;
        Ok(Window {
            kernel: ints(facts, "kernel_shape", 2, 1, None)?,
            strides: ints(facts, "strides", 2, 1, Some(1))?,
            dilations: ints(facts, "dilations", 2, 1, Some(1))?,
        })
    }
}

pub(super) fn over_pictures(facts: &Facts) -> Verdict {
    require(facts.rank(0) == Some(4), "it is not over two spatial axes")
}

pub(super) fn conv(facts: &Facts) -> Verdict {
    one_type(facts)?;
    let window = Window::of(facts)?;
    let weight = sizes(facts, 1)?;
    let kernel: Vec<i64> = weight.iter().skip(2).map(|&size| size as i64).collect();
    require(
        kernel == window.kernel,
        "kernel_shape is not that of the weight",
    )?;
    // The shader of its own for these reads a weight that was padded beforehand, and the padding
    // asks other questions than the choice of the shader.
    let is_special = window.kernel == [3, 3]
        && window.strides == [1, 1]
        && facts.int("group", 1) == 1
        && weight[0].is_multiple_of(4);
    if !is_special {
        return Ok(());
    }
    if window.dilations != [1, 1] {
        return require(!facts.has_input(2), "a dilated 3 x 3 kernel has a bias");
    }
    require(facts.has_input(2), "a 3 x 3 kernel has no bias")?;
    require(
        facts.constant(1).is_some(),
        "a 3 x 3 kernel is not constant",
    )
}

pub(super) fn max_pool(facts: &Facts) -> Verdict {
    Window::of(facts).map(|_| ())
}

pub(super) fn average_pool(facts: &Facts) -> Verdict {
    let window = Window::of(facts)?;
    require(window.dilations == [1, 1], "it is dilated")?;
    let counts_beyond = facts.int("ceil_mode", 0) != 0 && facts.int("count_include_pad", 0) != 0;
    require(
        !counts_beyond,
        "ceil_mode and count_include_pad are both set",
    )
}

pub(super) fn batch_normalization(facts: &Facts) -> Verdict {
    one_type(facts)?;
    over_pictures(facts)?;
    require(facts.int("training_mode", 0) == 0, "it is in training mode")?;
    require(
        facts.node.attrs.get("spatial").is_none(),
        "spatial is given",
    )?;
    let epsilon = facts.node.attrs.float("epsilon").unwrap_or(1e-5);
    require(
        (0.0..=1.0).contains(&epsilon),
        "epsilon is not between 0 and 1",
    )?;
    let sizes = sizes(facts, 0)?;
    let picture = elements(&sizes[2..]);
    let at_once = [4, 2, 1]
        .into_iter()
        .find(|&n| picture.is_multiple_of(n))
        .unwrap_or(1);
    let launched = [sizes[0] as u64, sizes[1] as u64, picture / at_once];
    let fits = launched.iter().all(|&n_groups| n_groups <= MAX_GROUPS);
    require(fits, "the picture is too large for one launch")
}
