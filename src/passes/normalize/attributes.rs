//! Changes that are a matter of attributes alone.

use super::{Build, Formula, Skip};
use crate::ops::Attr;
use crate::tensor::DType;

/// `Cast-1`: the type is a name.
pub(super) fn cast(b: &Build) -> Formula {
    let name = b.node.attrs.str("to").ok_or(Skip::NoMatch)?;
    let dtype = match name {
        "FLOAT" => DType::F32,
        "DOUBLE" => DType::F64,
        name => {
            let known = DType::from_name(&name.to_ascii_lowercase());
            known.ok_or(Skip::Refused("the type to cast to is unknown"))?
        }
    };
    Ok(b.cast(b.x()?, dtype))
}

/// `Concat-1`: the axis is 1 where it is not given.
pub(super) fn concat(b: &Build) -> Formula {
    if b.node.attrs.get("axis").is_some() {
        return Err(Skip::NoMatch);
    }
    with(b, [("axis", Attr::Int(1))])
}

/// `GRU`, `LSTM`, `RNN` before 7: whether the sequence is wanted is an attribute besides the
/// output's name; the default direction is misspelt.
pub(super) fn recurrent(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    attrs.remove("output_sequence");
    if attrs.str("direction") == Some("foward") {
        attrs.remove("direction");
    }
    b.again(&b.node.op.name, &b.node.inputs, attrs)
}

/// `LpPool-1`, `GlobalLpPool-1`: p is a float.
pub(super) fn lp_pool(b: &Build) -> Formula {
    let p = b.node.attrs.float("p").ok_or(Skip::NoMatch)?;
    if p.fract() != 0.0 || !(1.0..=64.0).contains(&p) {
        return Err(Skip::Refused("p is not a small whole number"));
    }
    with(b, [("p", Attr::Int(p as i64))])
}

/// `GridSample-16`: the modes have longer names.
pub(super) fn grid_sample(b: &Build) -> Formula {
    let mode = match b.node.attrs.str("mode") {
        Some("bilinear") => "linear",
        Some("bicubic") => "cubic",
        _ => return Err(Skip::NoMatch),
    };
    with(b, [("mode", text(mode))])
}

/// `RoiAlign-10` has no half-pixel shift.
pub(super) fn roi_align(b: &Build) -> Formula {
    with(
        b,
        [("coordinate_transformation_mode", text("output_half_pixel"))],
    )
}

/// `Selu-1` rounds its constants to four places.
pub(super) fn selu(b: &Build) -> Formula {
    let alpha = b.node.attrs.float("alpha").unwrap_or(1.6732);
    let gamma = b.node.attrs.float("gamma").unwrap_or(1.0507);
    with(
        b,
        [("alpha", Attr::Float(alpha)), ("gamma", Attr::Float(gamma))],
    )
}

/// `Scatter` is `ScatterElements` under its first name.
pub(super) fn scatter(b: &Build) -> Formula {
    b.again("ScatterElements", &b.node.inputs, b.node.attrs.clone())
}

/// The node with some attributes set.
fn with<const N: usize>(b: &Build, attrs: [(&str, Attr); N]) -> Formula {
    let mut all = b.node.attrs.clone();
    for (name, attr) in attrs {
        all.set(name, attr);
    }
    b.again(&b.node.op.name, &b.node.inputs, all)
}

pub(super) fn text(text: &str) -> Attr {
    Attr::Str(text.into())
}
