//! What moves no element, or need not.

use super::{Build, Formula, Skip};
use crate::tensor::DType;

/// The axes that a `Transpose` of some rank takes its own from.
pub(super) fn perm(perm: Option<&[i64]>, rank: usize) -> Vec<i64> {
    let reversed = || (0..rank as i64).rev().collect();
    perm.map_or_else(reversed, <[i64]>::to_vec)
}

// transpose(transpose(x, p), q) -> transpose(x, p[q])
pub(super) fn transpose_of_transpose(b: &Build) -> Formula {
    if !b.node.op.is("Transpose") {
        return Err(Skip::NoMatch);
    }
    let inner = b.sole_maker(b.x()?)?;
    let x = inner.input(0).filter(|_| inner.op.is("Transpose"));
    let x = x.ok_or(Skip::NoMatch)?;
    let rank = b.rank(x)?;
    let first = perm(inner.attrs.ints("perm"), rank);
    let second = perm(b.node.attrs.ints("perm"), rank);
    let both = second.iter().map(|&axis| first.get(axis as usize).copied());
    let both: Vec<i64> = both.collect::<Option<_>>().ok_or(Skip::NoMatch)?;
    Ok(b.transpose(x, &both))
}

// transpose(x) that leaves the order of axes longer than 1 -> reshape(x)
pub(super) fn transpose_as_reshape(b: &Build) -> Formula {
    if !b.node.op.is("Transpose") {
        return Err(Skip::NoMatch);
    }
    let x = b.x()?;
    let sizes = b.sizes(x)?;
    let perm = perm(b.node.attrs.ints("perm"), sizes.len());
    let long: Vec<i64> = perm
        .iter()
        .copied()
        .filter(|&axis| sizes.get(axis as usize) != Some(&1))
        .collect();
    if !long.is_sorted() {
        return Err(Skip::NoMatch);
    }
    let moved: Option<Vec<i64>> = perm
        .iter()
        .map(|&axis| sizes.get(axis as usize).copied())
        .collect();
    let moved = moved.filter(|moved| !moved.contains(&0));
    Ok(b.reshape(x, &moved.ok_or(Skip::NoMatch)?))
}

// reshape(reshape(x)) -> reshape(x)
pub(super) fn reshape_of_reshape(b: &Build) -> Formula {
    if !b.node.op.is("Reshape") {
        return Err(Skip::NoMatch);
    }
    let inner = b.sole_maker(b.x()?)?;
    let x = inner.input(0).ok_or(Skip::NoMatch)?;
    if !is_view(inner) {
        return Err(Skip::NoMatch);
    }
    let shape = b.input(1)?;
    // A zero stands for a size of what the inner one gives.
    if b.known_ints(shape)?.contains(&0) {
        return Err(Skip::Refused("the shape takes sizes from its input"));
    }
    Ok(b.op("Reshape", &[x, shape]))
}

/// True for a node that only says another shape.
pub(super) fn is_view(node: &crate::graph::Node) -> bool {
    let views = ["Reshape", "Flatten", "Squeeze", "Unsqueeze"];
    views.iter().any(|name| node.op.is(name))
}

// slice, split or concat that gives all of x -> x
pub(super) fn identity(b: &Build) -> Formula {
    let x = b.x()?;
    let gives_x = match &*b.node.op.to_string() {
        // Steps other than 1 take elements in another order.
        "Slice" => match b.node.input(4) {
            None => true,
            Some(steps) => b.known_ints(steps)?.iter().all(|&step| step == 1),
        },
        "Split" => b.node.outputs.len() == 1,
        _ => return Err(Skip::NoMatch),
    };
    let output = b.node.output(0).ok_or(Skip::NoMatch)?;
    if !gives_x || !b.same_shape(x, output) {
        return Err(Skip::NoMatch);
    }
    Ok(b.op("Identity", &[x]))
}

// f(expand(x), y) -> f(x, y) where y stretches x as far
pub(super) fn expanded_operand(b: &Build) -> Formula {
    let stretches = [
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Or",
        "Pow",
        "Sub",
        "Where",
        "Xor",
    ];
    if !stretches.iter().any(|name| b.node.op.is(name)) {
        return Err(Skip::NoMatch);
    }
    let output = b.node.output(0).ok_or(Skip::NoMatch)?;
    let expected = b.sizes(output)?;
    for idx in 0..b.node.inputs.len() {
        let expanded = b.input(idx)?;
        let Ok(expand) = b.maker(expanded, "Expand") else {
            continue;
        };
        let mut inputs = b.node.inputs.clone();
        inputs[idx] = expand.input(0);
        let sizes = inputs.iter().flatten().map(|&input| b.sizes(input));
        let sizes = sizes.collect::<Result<Vec<_>, Skip>>()?;
        if broadcast(&sizes, expected.len()) == expected {
            return Ok(b.op_attrs(&b.node.op.name, &inputs, b.node.attrs.clone()));
        }
    }
    Err(Skip::NoMatch)
}

/// The shape of inputs that are known to fit each other, in a rank; of a lower one it is no
/// shape that any output has.
fn broadcast(inputs: &[Vec<i64>], rank: usize) -> Vec<i64> {
    let from_last = |from_last: usize| {
        let sizes = inputs.iter().filter_map(|sizes| {
            let axis = sizes.len().checked_sub(from_last + 1)?;
            Some(sizes[axis])
        });
        sizes.fold(
            -1,
            |all, size| if all == -1 || all == 1 { size } else { all },
        )
    };
    (0..rank).rev().map(from_last).collect()
}

// cast(cast(x, wide), t) -> cast(x, t) where every x has a counterpart in the wide type
pub(super) fn cast_of_cast(b: &Build) -> Formula {
    if !b.node.op.is("Cast") {
        return Err(Skip::NoMatch);
    }
    let (wide, output) = (b.x()?, b.node.output(0).ok_or(Skip::NoMatch)?);
    let x = b.maker(wide, "Cast")?.input(0).ok_or(Skip::NoMatch)?;
    let (from, over, to) = (b.dtype(x)?, b.dtype(wide)?, b.dtype(output)?);
    let keeps = matches!(
        (from, over),
        (DType::F16 | DType::BF16, DType::F32 | DType::F64)
            | (DType::F32, DType::F64)
            | (DType::I32, DType::I64)
            | (DType::U8 | DType::I8, DType::I32 | DType::I64)
            | (
                DType::Bool,
                DType::U8 | DType::I32 | DType::I64 | DType::F32
            )
    );
    if !keeps {
        return Err(Skip::Refused("the type between is narrower"));
    }
    Ok(b.cast(x, to))
}
