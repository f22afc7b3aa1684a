//! Pools.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::Attr;
use crate::tensor::Tensor;

/// `GlobalAveragePool`, `GlobalMaxPool`: reductions over all spatial axes.
pub(super) fn global(b: &Build) -> Formula {
    let x = b.x()?;
    let name = if b.node.op.is("GlobalMaxPool") {
        "ReduceMax"
    } else {
        "ReduceMean"
    };
    Ok(b.reduce(name, x, &spatial_axes(b, x)?))
}

// (sum |x|^p)^(1/p)
pub(super) fn global_lp(b: &Build) -> Formula {
    let x = b.x()?;
    let (power, root) = powers(b, x)?;
    let sum = b.reduce("ReduceSum", power, &spatial_axes(b, x)?);
    Ok(b.op("Pow", &[sum, root]))
}

// (n * mean |x|^p)^(1/p) over windows of n elements
pub(super) fn lp(b: &Build) -> Formula {
    let x = b.x()?;
    let kernel = b.node.attrs.ints("kernel_shape").ok_or(Skip::NoMatch)?;
    // Elements beyond the padding are in no mean, so the windows would differ in n.
    if b.int("ceil_mode", 0) != 0 {
        return Err(Skip::Refused("ceil_mode is set"));
    }
    let count: f64 = kernel.iter().map(|&size| size as f64).product();
    let (power, root) = powers(b, x)?;
    let mut attrs = b.node.attrs.clone();
    attrs.remove("p");
    attrs.set("count_include_pad", Attr::Int(1));
    let sum = b.mul(
        b.op_attrs("AveragePool", &[power], attrs),
        b.like(x, count)?,
    );
    Ok(b.op("Pow", &[sum, root]))
}

/// `|x|^p` and `1 / p`.
fn powers(b: &Build, x: ValueId) -> Result<(ValueId, ValueId), Skip> {
    let p = b.int("p", 2);
    if p < 1 {
        return Err(Skip::Refused("p is not positive"));
    }
    let power = b.op("Pow", &[b.op("Abs", &[x]), b.like(x, p as f64)?]);
    Ok((power, b.like(x, 1.0 / p as f64)?))
}

fn spatial_axes(b: &Build, x: ValueId) -> Result<Vec<i64>, Skip> {
    let rank = b.rank(x)?;
    if rank < 3 {
        return Err(Skip::Refused("x has no spatial axes"));
    }
    Ok((2..rank as i64).collect())
}

/// `MaxUnpool`: indices count through the whole tensor that the pool has seen.
pub(super) fn max_unpool(b: &Build) -> Formula {
    let (x, indices) = (b.x()?, b.input(1)?);
    let sizes = b.sizes(x)?;
    let kernel = b.node.attrs.ints("kernel_shape").ok_or(Skip::NoMatch)?;
    let n_axes = kernel.len();
    let strides = b
        .node
        .attrs
        .ints("strides")
        .map_or(vec![1; n_axes], <[i64]>::to_vec);
    let pads = b
        .node
        .attrs
        .ints("pads")
        .map_or(vec![0; 2 * n_axes], <[i64]>::to_vec);
    if sizes.len() != n_axes + 2 || strides.len() != n_axes || pads.len() != 2 * n_axes {
        return Err(Skip::Refused(
            "kernel_shape, strides, pads and x differ in rank",
        ));
    }
    let mut full = sizes[..2].to_vec();
    for axis in 0..n_axes {
        let steps = (sizes[axis + 2] - 1).checked_mul(strides[axis]);
        let size = steps.and_then(|steps| {
            steps
                .checked_add(kernel[axis])?
                .checked_sub(pads[axis])?
                .checked_sub(pads[n_axes + axis])
        });
        full.push(
            size.filter(|&size| size >= 0)
                .ok_or(Skip::Refused("a size does not fit"))?,
        );
    }
    let count = full
        .iter()
        .try_fold(1_i64, |count, &size| count.checked_mul(size));
    let count = count.ok_or(Skip::Refused("a size does not fit"))?;
    let zero = b.reshape(b.like(x, 0.0)?, &[1]);
    let zeros = b.op("Expand", &[zero, b.ints(&[count])]);
    let flat = |y: ValueId| b.reshape(y, &[-1]);
    let spread = b.op_with(
        "ScatterElements",
        &[zeros, flat(indices), flat(x)],
        [("axis", Attr::Int(0))],
    );
    let y = b.reshape(spread, &full);
    let Some(output_shape) = b.node.input(2) else {
        return Ok(y);
    };
    let wanted = b.known_ints(output_shape)?;
    let behind: Option<Vec<i64>> = wanted
        .iter()
        .zip(&full)
        .map(|(w, f)| w.checked_sub(*f))
        .collect();
    let behind = behind.filter(|behind| {
        behind.len() == full.len() && wanted.len() == full.len() && behind.iter().all(|&n| n >= 0)
    });
    let behind = behind.ok_or(Skip::Refused(
        "output_shape is smaller than the unpooled shape",
    ))?;
    let mut pads = vec![0; full.len()];
    pads.extend(behind);
    Ok(b.op("Pad", &[y, b.constant(Tensor::vector(&pads))]))
}
