//! Attributes that became inputs.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::{Attr, Attrs};
use crate::tensor::{DType, Tensor};

/// `Squeeze`, `Unsqueeze` and `ReduceSum` before 13, the other reductions before 18.
pub(super) fn axes(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    let axes = take_ints(b, &mut attrs, "axes")?.ok_or(Skip::NoMatch)?;
    b.again(&b.node.op.name, &[b.x()?, axes], attrs)
}

/// `Clip` before 11.
pub(super) fn clip(b: &Build) -> Formula {
    let x = b.x()?;
    let bound = |name: &str| match b.node.attrs.float(name) {
        // A type that nothing tells is that of most models.
        Some(bound) => b
            .scalar(b.dtype(x).unwrap_or(DType::F32), bound.into())
            .map(Some),
        None => Ok(None),
    };
    Ok(b.op_with("Clip", &[Some(x), bound("min")?, bound("max")?], []))
}

/// `DFT-17`: the axis is an attribute, 1 where it is not given.
pub(super) fn dft(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    attrs.remove("axis");
    let axis = b.constant(Tensor::scalar(b.int("axis", 1)));
    b.again("DFT", &[Some(b.x()?), b.node.input(1), Some(axis)], attrs)
}

/// `Dropout` before 12: no mode, so a session runs it for inference.
pub(super) fn dropout(b: &Build) -> Formula {
    if b.is_read(1) {
        return Err(Skip::Refused("the mask is read"));
    }
    let ratio = b.node.attrs.float("ratio").unwrap_or(0.5);
    Ok(b.op("Dropout", &[b.x()?, b.constant(Tensor::scalar(ratio))]))
}

/// `Pad` before 11; before 2 the attribute is called `paddings`.
pub(super) fn pad(b: &Build) -> Formula {
    let x = b.x()?;
    let mut attrs = b.node.attrs.clone();
    let name = if attrs.get("paddings").is_some() {
        "paddings"
    } else {
        "pads"
    };
    let pads = take_ints(b, &mut attrs, name)?.ok_or(Skip::NoMatch)?;
    let value = match attrs.remove("value") {
        Some(Attr::Float(value)) if value != 0.0 => {
            Some(b.scalar(b.dtype(x).unwrap_or(DType::F32), value.into())?)
        }
        _ => None,
    };
    b.again("Pad", &[Some(x), Some(pads), value], attrs)
}

/// `Reshape` before 5.
pub(super) fn reshape(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    let shape = take_ints(b, &mut attrs, "shape")?.ok_or(Skip::NoMatch)?;
    b.again("Reshape", &[b.x()?, shape], attrs)
}

/// `Slice` before 10.
pub(super) fn slice(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    let starts = take_ints(b, &mut attrs, "starts")?.ok_or(Skip::NoMatch)?;
    let ends = take_ints(b, &mut attrs, "ends")?;
    let axes = take_ints(b, &mut attrs, "axes")?;
    b.again("Slice", &[Some(b.x()?), Some(starts), ends, axes], attrs)
}

/// `Split` before 13 has its sizes in an attribute; before 18 equal parts need no number of them.
pub(super) fn split(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    let split = take_ints(b, &mut attrs, "split")?.or(b.node.input(1));
    if split.is_none() {
        if attrs.get("num_outputs").is_some() {
            return Err(Skip::NoMatch);
        }
        let n_outputs = i64::try_from(b.node.outputs.len()).map_err(|_| Skip::NoMatch)?;
        attrs.set("num_outputs", Attr::Int(n_outputs));
    }
    b.again("Split", &[Some(b.x()?), split], attrs)
}

/// `Tile-1` repeats along one axis: inputs x, tiles, axis.
pub(super) fn tile(b: &Build) -> Formula {
    let x = b.x()?;
    // A model of version 1 that already has one list of repeats is in today's form.
    if b.node.input(2).is_none() {
        return Err(Skip::NoMatch);
    }
    let (tiles, axis) = (b.known_ints(b.input(1)?)?, b.known_ints(b.input(2)?)?);
    let (&[tiles], &[axis]) = (&tiles[..], &axis[..]) else {
        return Err(Skip::Refused("tiles and axis are not single numbers"));
    };
    let mut repeats = vec![1; b.rank(x)?];
    let axis = b.axis(axis, repeats.len())?;
    repeats[axis] = tiles;
    Ok(b.op("Tile", &[x, b.ints(&repeats)]))
}

/// `TopK-1`.
pub(super) fn top_k(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    let Some(Attr::Int(k)) = attrs.remove("k") else {
        return Err(Skip::NoMatch);
    };
    b.again("TopK", &[b.x()?, b.ints(&[k])], attrs)
}

/// Moves a list of integers from the attributes into a constant.
fn take_ints(b: &Build, attrs: &mut Attrs, name: &str) -> Result<Option<ValueId>, Skip> {
    match attrs.remove(name) {
        None => Ok(None),
        Some(Attr::Ints(ints)) => Ok(Some(b.ints(&ints))),
        Some(_) => Err(Skip::Refused(
            "an attribute has another type than a list of integers",
        )),
    }
}
