//! Layers over items: convolution, pooling, normalisation, resizing.

use super::super::class::Product;
use super::super::site::{Site, Verdict, expect_other};
use super::elementwise::aligned;
use crate::tensor::{Dim, Tensor};

/// Operators whose first input has items along axis 0, and that compute each on its own.
pub(super) const ITEMS: &[&str] = &[
    "AveragePool",
    "Col2Im",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LRN",
    "LpPool",
    "QLinearConv",
    "SpaceToDepth",
    "com.microsoft::QLinearAveragePool",
    "com.microsoft::QLinearGlobalAveragePool",
];

pub(super) const ITEMS_OF_TWO: &[&str] = &["GridSample"];

pub(super) fn items(site: &Site) -> Verdict {
    let place = site.need(0)?;
    if place.axis != 0 {
        return Err(format!("axis {} of its input is no batch", place.axis));
    }
    if ITEMS_OF_TWO.contains(&&*site.node.op.name) {
        let second = site.need(1)?;
        if second != place {
            return Err("its inputs have their rows at different places".into());
        }
    }
    Ok(vec![place])
}

pub(super) fn max_pool(site: &Site) -> Verdict {
    if site.node.output(1).is_some() {
        return Err("its indices count through the whole batch".into());
    }
    items(site)
}

pub(super) fn batch_normalization(site: &Site) -> Verdict {
    if site.int("training_mode", 0) != 0 {
        return Err("it is in training mode".into());
    }
    items(site)
}

pub(super) const LAYER_NORMS: &[&str] = &[
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
    "com.microsoft::SimplifiedLayerNormalization",
];

/// Scale and bias are broadcast to the input.
pub(super) fn layer_norm(site: &Site) -> Verdict {
    let (place, rank) = (site.need(0)?, site.rank(0)?);
    if place.axis >= site.axis_attr(-1)? {
        return Err("it takes means over the rows".into());
    }
    for idx in [1, 2] {
        site.expect_fit(idx, &place, rank)?;
    }
    Ok(vec![place])
}

pub(super) const SKIP_NORMS: &[&str] = &[
    "com.microsoft::SkipLayerNormalization",
    "com.microsoft::SkipSimplifiedLayerNormalization",
];

/// The last axis of x + skip.
pub(super) fn skip_norm(site: &Site) -> Verdict {
    let place = aligned(site, &[0, 1])?;
    let (x, skip) = (site.shape(0)?, site.shape(1)?);
    expect_other(x.rank().max(skip.rank()) - 1, &place)?;
    let one = Dim::Size(1);
    let is_spread = |(x, skip): (&Dim, &Dim)| *skip == one && *x != one;
    // It may be spread over the rows, but not within each of several.
    if site.place(1).is_some() && x.iter().zip(skip.iter()).any(is_spread) {
        return Err(format!("{skip} is no part of {x}"));
    }
    Ok(vec![place])
}

/// The rows keep their size.
pub(super) fn resize(site: &Site) -> Verdict {
    let (place, shape) = (site.need(0)?, site.shape(0)?);
    let attr = |name: &str| site.node.attrs.str(name);
    if attr("coordinate_transformation_mode") == Some("tf_crop_and_resize") {
        return Err("it crops".into());
    }
    let mut axes: Vec<usize> = (0..shape.rank()).collect();
    if let Some(named) = site.node.attrs.ints("axes") {
        let named = named.iter().map(|&axis| site.axis(axis, shape.rank()));
        axes = named.collect::<Result<_, _>>()?;
    }
    let at = axes.iter().position(|&axis| axis == place.axis);
    let has_sizes = site.has(3) && site.shape(3)?.elements() != Dim::Size(0);
    if has_sizes {
        if attr("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
            return Err("its sizes follow from each other".into());
        }
        let keeps = |idx: usize, dim: &Dim| match Some(idx) == at {
            true => {
                Product::of(std::slice::from_ref(dim))
                    == Product::of(&shape[place.axis..=place.axis])
            }
            false => !site.mentions(dim),
        };
        if at.is_some() || site.is_extent(3) {
            let sizes = site.extents(3)?;
            if !sizes.iter().enumerate().all(|(idx, dim)| keeps(idx, dim)) {
                return Err("its sizes change the number of rows".into());
            }
        }
        return Ok(vec![place]);
    }
    let Some(at) = at else {
        return Ok(vec![place]);
    };
    let scales = site.constant(2).and_then(Tensor::to_f64s);
    match scales.as_ref().and_then(|scales| scales.get(at)) {
        Some(1.0) => Ok(vec![place]),
        Some(scale) => Err(format!("it scales the rows by {scale}")),
        None => Err("its scales are unknown".into()),
    }
}
