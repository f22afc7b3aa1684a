//! Convolutions and pools with every attribute of their windows written out, so that no backend's
//! own defaults or reading of `auto_pad` matter.

use super::{Pass, Skip};
use crate::graph::{Graph, Node, NodeId, Patch};
use crate::ops::{Attr, Attrs};

pub const PASS: Pass = Pass {
    name: "windows",
    rule: windows,
};

fn windows(graph: &Graph, id: NodeId) -> Result<Patch, Skip> {
    let node = graph.node(id);
    if !node.op.domain.is_empty() {
        return Err(Skip::NoMatch);
    }
    let weights = match &*node.op.name {
        "Conv" | "ConvInteger" | "ConvTranspose" => Some(1),
        "QLinearConv" => Some(3),
        "AveragePool" | "MaxPool" => None,
        _ => return Err(Skip::NoMatch),
    };
    let attrs = written_out(graph, node, weights)?;
    if attrs == node.attrs {
        return Err(Skip::NoMatch);
    }
    let mut patch = Patch::default();
    patch.remove(id);
    patch.node(Node {
        attrs,
        ..node.clone()
    });
    Ok(patch)
}

fn written_out(graph: &Graph, node: &Node, weights: Option<usize>) -> Result<Attrs, Skip> {
    let unknown = Skip::Refused("a rank is unknown");
    let shape = |idx| {
        let value = node.input(idx).map(|value| graph.value(value));
        value
            .and_then(|value| value.fact.shape.as_ref())
            .ok_or(unknown)
    };
    let x = shape(0)?;
    let n_spatial = x.rank().checked_sub(2).ok_or(unknown)?;
    let mut attrs = node.attrs.clone();
    let kernel: Option<Vec<i64>> = match (attrs.ints("kernel_shape"), weights) {
        (Some(kernel), _) => Some(kernel.to_vec()),
        (None, Some(idx)) => shape(idx)?.iter().skip(2).map(|dim| dim.value()).collect(),
        (None, None) => return Err(unknown),
    };
    if let Some(kernel) = &kernel {
        attrs.set("kernel_shape", Attr::Ints(kernel.clone()));
    }
    for name in ["strides", "dilations"] {
        if attrs.ints(name).is_none_or(<[i64]>::is_empty) {
            attrs.set(name, Attr::Ints(vec![1; n_spatial]));
        }
    }
    let auto_pad = attrs.str("auto_pad").unwrap_or("NOTSET").to_owned();
    let output_shape = attrs.ints("output_shape").filter(|shape| !shape.is_empty());
    if auto_pad.starts_with("SAME") || output_shape.is_some() {
        let sizes: Option<Vec<i64>> = x.iter().skip(2).map(|dim| dim.value()).collect();
        let (Some(kernel), Some(sizes)) = (kernel, sizes) else {
            return Err(Skip::Refused("sizes are unknown"));
        };
        let totals = if node.op.is("ConvTranspose") {
            cropped(&attrs, &kernel, &sizes)
        } else {
            filled(&attrs, &kernel, &sizes)
        };
        let totals = totals.ok_or(Skip::Refused("attributes do not fit the rank"))?;
        if totals.iter().any(|&total| total < 0) {
            return Err(Skip::Refused("padding would be negative"));
        }
        // An odd one is at the end for SAME_UPPER, and at the beginning otherwise.
        let halves = totals.iter().map(|total| (total / 2, total - total / 2));
        let (small, large): (Vec<i64>, Vec<i64>) = halves.unzip();
        let pads = if auto_pad == "SAME_UPPER" {
            [small, large]
        } else {
            [large, small]
        };
        attrs.set("pads", Attr::Ints(pads.concat()));
        attrs.remove("output_shape");
        // These windows fit without rounding.
        attrs.remove("ceil_mode");
    } else if auto_pad == "VALID" || attrs.ints("pads").is_none_or(<[i64]>::is_empty) {
        attrs.set("pads", Attr::Ints(vec![0; 2 * n_spatial]));
    }
    attrs.remove("auto_pad");
    Ok(attrs)
}

/// Padding for as many windows as strides fit the input.
fn filled(attrs: &Attrs, kernel: &[i64], sizes: &[i64]) -> Option<Vec<i64>> {
    let (strides, dilations) = (attrs.ints("strides")?, attrs.ints("dilations")?);
    let axes = 0..sizes.len();
    axes.map(|axis| {
        let (size, stride) = (*sizes.get(axis)?, *strides.get(axis)?);
        let n_windows = size
            .checked_add(stride)?
            .checked_sub(1)?
            .checked_div(stride)?;
        let span = span(*kernel.get(axis)?, *dilations.get(axis)?)?;
        let covered = n_windows
            .checked_sub(1)?
            .checked_mul(stride)?
            .checked_add(span)?;
        Some(covered.checked_sub(size)?.max(0))
    })
    .collect()
}

/// What a transposed convolution makes too much, for `output_shape` or strides times the input.
fn cropped(attrs: &Attrs, kernel: &[i64], sizes: &[i64]) -> Option<Vec<i64>> {
    let (strides, dilations) = (attrs.ints("strides")?, attrs.ints("dilations")?);
    let output_shape = attrs.ints("output_shape").filter(|shape| !shape.is_empty());
    let axes = 0..sizes.len();
    axes.map(|axis| {
        let (size, stride) = (*sizes.get(axis)?, *strides.get(axis)?);
        let wanted = match output_shape {
            // The batch and channel axes may be there too.
            Some(shape) => *shape.get(shape.len().checked_sub(sizes.len())? + axis)?,
            None => size.checked_mul(stride)?,
        };
        let extra = attrs
            .ints("output_padding")
            .and_then(|list| list.get(axis).copied());
        let span = span(*kernel.get(axis)?, *dilations.get(axis)?)?;
        let made = size
            .checked_sub(1)?
            .checked_mul(stride)?
            .checked_add(span)?;
        made.checked_add(extra.unwrap_or(0))?.checked_sub(wanted)
    })
    .collect()
}

/// How many elements a window reaches over, holes included.
fn span(kernel: i64, dilation: i64) -> Option<i64> {
    kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)
}
