//! Convolutions and pools over two spatial axes.

use super::{Build, Formula, Skip, is_constant, output_sizes, producer, product};
use crate::graph::{Node, ValueId};
use crate::ops::{Attr, Attrs};
use crate::tensor::{DType, Tensor};

/// The attributes of a convolution or pool, all of which the `windows` pass has written out.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<i64>,
}

impl Window {
    fn of(b: &Build, n_axes: usize) -> Result<Window, Skip> {
        let list = |name: &str, len: usize| {
            let values = b.node.attrs.ints(name).filter(|values| values.len() == len);
            let values = values.ok_or(Skip::Refused(
                "an attribute is missing or of another length",
            ))?;
            Ok(values.to_vec())
        };
        Ok(Window {
            kernel: list("kernel_shape", n_axes)?,
            strides: list("strides", n_axes)?,
            dilations: list("dilations", n_axes)?,
            pads: list("pads", 2 * n_axes)?,
        })
    }

    fn write(self, attrs: &mut Attrs) {
        attrs.set("kernel_shape", Attr::Ints(self.kernel));
        attrs.set("strides", Attr::Ints(self.strides));
        attrs.set("dilations", Attr::Ints(self.dilations));
        attrs.set("pads", Attr::Ints(self.pads));
    }
}

/// `Conv`, `MaxPool`, `AveragePool` over one spatial axis: x: [N, C, L] becomes [N, C, 1, L].
pub(super) fn with_two_spatial_axes(b: &Build) -> Formula {
    let x = b.x()?;
    let &[n, c, l] = &b.sizes(x)?[..] else {
        return Err(Skip::NoMatch);
    };
    if b.node.output(1).is_some() {
        return Err(Skip::Refused("the indices are read"));
    }
    let window = Window::of(b, 1)?;
    let mut attrs = b.node.attrs.clone();
    let flat = Window {
        kernel: vec![1, window.kernel[0]],
        strides: vec![1, window.strides[0]],
        dilations: vec![1, window.dilations[0]],
        pads: vec![0, window.pads[0], 0, window.pads[1]],
    };
    flat.write(&mut attrs);
    let mut inputs = vec![Some(b.reshape(x, &[n, c, 1, l]))];
    if let Some(weight) = b.node.input(1) {
        let &[m, per_group, k] = &b.sizes(weight)?[..] else {
            return Err(Skip::Refused("the weight is not of rank 3"));
        };
        inputs.push(Some(b.reshape(weight, &[m, per_group, 1, k])));
        inputs.push(b.node.input(2));
    }
    let y = b.op_attrs(&b.node.op.name, &inputs, attrs);
    Ok(b.reshape(y, &output_sizes(b)?))
}

/// `Conv` with a kernel of 3 by 3 for which wonnx has a shader of its own: that one wants a bias
/// where wonnx pads the weight for it, and none where it does not.
pub(super) fn for_three_by_three(b: &Build) -> Formula {
    let (x, weight) = (b.x()?, b.input(1)?);
    let window = Window::of(b, 2)?;
    let n_filters = *b.sizes(weight)?.first().ok_or(Skip::NoMatch)?;
    let is_special = window.kernel == [3, 3]
        && window.strides == [1, 1]
        && b.int("group", 1) == 1
        && n_filters % 4 == 0;
    if !is_special {
        return Err(Skip::NoMatch);
    }
    let attrs = b.node.attrs.clone();
    let is_dilated = window.dilations != [1, 1];
    match b.node.input(2) {
        None if !is_dilated => {
            let bias = Tensor::vector(&vec![0.0_f32; n_filters as usize]);
            b.again("Conv", &[x, weight, b.constant(bias)], attrs)
        }
        Some(bias) if is_dilated => {
            let y = b.op_attrs("Conv", &[x, weight], attrs);
            Ok(b.add(y, b.reshape(bias, &[n_filters, 1, 1])))
        }
        _ => Err(Skip::NoMatch),
    }
}

// x * f + (bias - mean * f) with f = scale / sqrt(variance + epsilon): into the convolution that
// makes x, or as it stands
pub(super) fn batch_normalization(b: &Build) -> Formula {
    let x = b.x()?;
    if b.int("training_mode", 0) != 0 {
        return Err(Skip::Refused("it is in training mode"));
    }
    let [scale, bias, mean, variance] = [b.input(1)?, b.input(2)?, b.input(3)?, b.input(4)?];
    let rank = b.rank(x)?;
    let are_constant = [scale, bias, mean, variance]
        .iter()
        .all(|&value| is_constant(b, value));
    let conv = foldable_conv(b, x).filter(|_| are_constant);
    if conv.is_none() && rank == 4 {
        return Err(Skip::NoMatch);
    }
    let epsilon = b.like(variance, b.float("epsilon", 1e-5))?;
    let factor = b.div(scale, b.op("Sqrt", &[b.add(variance, epsilon)]));
    let offset = b.sub(bias, b.mul(mean, factor));
    let channels = *b.sizes(scale)?.first().ok_or(Skip::NoMatch)?;
    if let Some(Conv { node, x, weight }) = conv {
        let mut per_filter = vec![1; b.rank(weight)?];
        per_filter[0] = channels;
        let weight = b.mul(weight, b.reshape(factor, &per_filter));
        let bias = match node.input(2) {
            Some(bias) => b.add(b.mul(bias, factor), offset),
            None => offset,
        };
        return Ok(b.op_attrs("Conv", &[x, weight, bias], node.attrs.clone()));
    }
    let mut per_channel = vec![1; rank.saturating_sub(1)];
    if let Some(first) = per_channel.first_mut() {
        *first = channels;
    }
    let scaled = b.mul(x, b.reshape(factor, &per_channel));
    Ok(b.add(scaled, b.reshape(offset, &per_channel)))
}

struct Conv<'g> {
    node: &'g Node,
    x: ValueId,
    weight: ValueId,
}

/// The convolution of constant weights that makes `y` for this node alone.
fn foldable_conv<'g>(b: &Build<'g>, y: ValueId) -> Option<Conv<'g>> {
    let node = producer(b, y).filter(|node| node.op.is("Conv"))?;
    let readers = b
        .graph
        .nodes()
        .filter(|(_, node)| node.inputs.contains(&Some(y)))
        .count();
    if readers != 1 || b.graph.is_pinned(y) {
        return None;
    }
    let (x, weight) = (node.input(0)?, node.input(1)?);
    let constants = [Some(weight), node.input(2)];
    let all_constant = constants
        .into_iter()
        .flatten()
        .all(|value| is_constant(b, value));
    all_constant.then_some(Conv { node, x, weight })
}

/// `GlobalAveragePool` over other than two spatial axes.
pub(super) fn global_average_pool(b: &Build) -> Formula {
    let x = b.x()?;
    let rank = b.rank(x)?;
    if rank == 4 || rank < 3 {
        return Err(Skip::NoMatch);
    }
    let axes: Vec<i64> = (2..rank as i64).collect();
    Ok(b.reduce("ReduceMean", x, &axes))
}

/// `ConvTranspose` whose windows do not overlap: a convolution of one pixel that makes all pixels
/// of a block as channels, which then move to their places.
///
/// x: [N, C, H, W], weight: [C, M, h, w] -> [N, M, H * h, W * w]
pub(super) fn transposed(b: &Build) -> Formula {
    let (x, weight) = (b.x()?, b.input(1)?);
    let (&[n, _, height, width], &[c, m, h, w]) = (&b.sizes(x)?[..], &b.sizes(weight)?[..]) else {
        return Err(Skip::Refused("it is not over two spatial axes"));
    };
    let out = output_sizes(b)?;
    let strides = b.node.attrs.ints("strides").unwrap_or(&[1, 1]);
    let is_plain = strides == [h, w]
        && out == [n, m, product(&[height, h])?, product(&[width, w])?]
        && b.int("group", 1) == 1
        && b.node
            .attrs
            .ints("pads")
            .is_none_or(|pads| pads.iter().all(|&pad| pad == 0))
        && b.node
            .attrs
            .ints("dilations")
            .is_none_or(|all| all.iter().all(|&d| d == 1))
        && b.node
            .attrs
            .ints("output_padding")
            .is_none_or(|all| all.iter().all(|&p| p == 0));
    if !is_plain || b.dtype(x)? != DType::F32 {
        return Err(Skip::Refused("its windows overlap or leave gaps"));
    }
    let per_pixel = product(&[m, h, w])?;
    let filters = b.reshape(b.transpose(weight, &[1, 2, 3, 0]), &[per_pixel, c, 1, 1]);
    let bias = match b.node.input(2) {
        Some(bias) => {
            let spread = b.op(
                "Expand",
                &[b.reshape(bias, &[m, 1]), b.ints(&[m, per_pixel / m])],
            );
            Some(b.reshape(spread, &[per_pixel]))
        }
        None => None,
    };
    let kernel = [("kernel_shape", Attr::Ints(vec![1, 1]))];
    let blocks = b.op_with("Conv", &[Some(x), Some(filters), bias], kernel);
    let apart = b.reshape(blocks, &[n, m, h, w, height, width]);
    Ok(b.reshape(b.transpose(apart, &[0, 1, 4, 2, 5, 3]), &out))
}
