//! Quantised operators as dequantise, compute, quantise; integer products as products of floats
//! where those are exact.

use super::{Build, Formula, Skip};
use crate::graph::ValueId;
use crate::ops::{Attr, Attrs};
use crate::tensor::DType;

/// A scale or zero point of one element as a scalar: rank 1 would mean one for each slice.
fn parameter(b: &Build, value: ValueId) -> ValueId {
    let is_single = b.fact(value).sizes().is_some_and(|sizes| sizes == [1]);
    if is_single {
        b.reshape(value, &[])
    } else {
        value
    }
}

/// `(x - zero_point) * scale` of three consecutive inputs; `axis` counts for per-slice scales.
fn dequantized(b: &Build, first_input: usize, axis: i64) -> Formula {
    let scale = parameter(b, b.input(first_input + 1)?);
    let zero_point = b
        .node
        .input(first_input + 2)
        .map(|value| parameter(b, value));
    let inputs = [Some(b.input(first_input)?), Some(scale), zero_point];
    Ok(b.op_with("DequantizeLinear", &inputs, [("axis", Attr::Int(axis))]))
}

/// `round(y / scale) + zero_point` with the scale at an input and the zero point behind it.
fn quantized(b: &Build, y: ValueId, scale_input: usize, axis: i64) -> Formula {
    let scale = parameter(b, b.input(scale_input)?);
    let zero_point = b
        .node
        .input(scale_input + 1)
        .map(|value| parameter(b, value));
    let mut attrs = Attrs::default();
    attrs.set("axis", Attr::Int(axis));
    if zero_point.is_none() {
        let dtype = b
            .node
            .output(0)
            .and_then(|output| b.fact(output).dtype)
            .unwrap_or(DType::U8);
        attrs.set("output_dtype", Attr::Int(dtype.onnx().into()));
    }
    Ok(b.op_attrs("QuantizeLinear", &[Some(y), Some(scale), zero_point], attrs))
}

fn product_of_scales(b: &Build, first: usize, second: usize) -> Formula {
    Ok(b.mul(
        parameter(b, b.input(first)?),
        parameter(b, b.input(second)?),
    ))
}

/// Inputs: x, its scale and zero point, w, its, y's, bias. The bias is in units of both scales.
pub(super) fn conv(b: &Build) -> Formula {
    let bias = match b.node.input(8) {
        Some(bias) => Some(b.mul(b.cast(bias, DType::F32), product_of_scales(b, 1, 4)?)),
        None => None,
    };
    let inputs = [
        Some(dequantized(b, 0, 1)?),
        Some(dequantized(b, 3, 0)?),
        bias,
    ];
    let y = b.op_attrs("Conv", &inputs, b.node.attrs.clone());
    quantized(b, y, 6, 1)
}

/// Inputs: a, its scale and zero point, b, its, y's. Per-row and per-column scales have rank 1.
pub(super) fn matmul(b: &Build) -> Formula {
    let has_slices = |idx: usize| -> Result<bool, Skip> { Ok(b.rank(b.input(idx)?)? > 1) };
    if has_slices(1)? || has_slices(4)? || has_slices(6)? {
        return Err(Skip::Refused("scales have more than one axis"));
    }
    let a_rank = b.rank(b.x()?)?;
    let rows = a_rank.saturating_sub(2) as i64;
    let y = b.op(
        "MatMul",
        &[dequantized(b, 0, rows)?, dequantized(b, 3, -1)?],
    );
    quantized(b, y, 6, -2)
}

/// Inputs: a, its scale and zero point, b, its, c in units of both scales, y's scale and zero
/// point; without those y is float.
pub(super) fn gemm(b: &Build) -> Formula {
    let trans_b = b.int("transB", 0);
    let columns = if trans_b != 0 { 0 } else { 1 };
    let c = match b.node.input(6) {
        Some(c) => Some(b.mul(b.cast(c, DType::F32), product_of_scales(b, 1, 4)?)),
        None => None,
    };
    let alpha = Attr::Float(b.node.attrs.float("alpha").unwrap_or(1.0));
    let y = b.op_with(
        "Gemm",
        &[
            Some(dequantized(b, 0, 0)?),
            Some(dequantized(b, 3, columns)?),
            c,
        ],
        [
            ("alpha", alpha.clone()),
            ("beta", alpha),
            ("transA", Attr::Int(b.int("transA", 0))),
            ("transB", Attr::Int(trans_b)),
        ],
    );
    if b.node.input(7).is_none() {
        Ok(y)
    } else {
        quantized(b, y, 7, 1)
    }
}

pub(super) fn add(b: &Build) -> Formula {
    quantized(b, b.add(dequantized(b, 0, 1)?, dequantized(b, 3, 1)?), 6, 1)
}

pub(super) fn mul(b: &Build) -> Formula {
    quantized(b, b.mul(dequantized(b, 0, 1)?, dequantized(b, 3, 1)?), 6, 1)
}

/// Inputs of all with one operand: x, its scale and zero point, y's.
fn unary(b: &Build, compute: impl Fn(ValueId) -> ValueId) -> Formula {
    quantized(b, compute(dequantized(b, 0, 1)?), 3, 1)
}

pub(super) fn sigmoid(b: &Build) -> Formula {
    unary(b, |x| b.op("Sigmoid", &[x]))
}

pub(super) fn leaky_relu(b: &Build) -> Formula {
    let alpha = b.node.attrs.float("alpha").unwrap_or(0.01);
    unary(b, |x| {
        b.op_with("LeakyRelu", &[x], [("alpha", Attr::Float(alpha))])
    })
}

/// Before version 13 of ONNX's own operator, which the node names, the axis splits the shape.
pub(super) fn softmax(b: &Build) -> Formula {
    let rank = b.rank(b.x()?)?;
    let old = b.int("opset", 13) < 13;
    let axis = b.axis(b.int("axis", if old { 1 } else { -1 }), rank)?;
    if old && axis + 1 != rank {
        return Err(Skip::Refused("the axis is not the last one"));
    }
    unary(b, |x| {
        b.op_with("Softmax", &[x], [("axis", Attr::Int(axis as i64))])
    })
}

pub(super) fn average_pool(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    if b.int("channels_last", 0) != 0 {
        return Err(Skip::Refused("channels are last"));
    }
    attrs.remove("channels_last");
    unary(b, |x| b.op_attrs("AveragePool", &[x], attrs.clone()))
}

pub(super) fn global_average_pool(b: &Build) -> Formula {
    let rank = b.rank(b.x()?)? as i64;
    let axes: Vec<i64> = if b.int("channels_last", 0) != 0 {
        (1..rank - 1).collect()
    } else {
        (2..rank).collect()
    };
    unary(b, |x| b.reduce("ReduceMean", x, &axes))
}

/// Inputs: y's scale and zero point, then x, its scale and zero point for each part.
pub(super) fn concat(b: &Build) -> Formula {
    let firsts = (2..b.node.inputs.len()).step_by(3);
    let parts: Vec<ValueId> = firsts
        .map(|first| dequantized(b, first, 1))
        .collect::<Result<_, _>>()?;
    let y = b.op_with("Concat", &parts, [("axis", Attr::Int(b.int("axis", 1)))]);
    quantized(b, y, 0, 1)
}

/// Inputs: a, b, a's scale, b's, a's zero point, b's, bias.
pub(super) fn matmul_integer_to_float(b: &Build) -> Formula {
    let zero_points = [b.node.input(4), b.node.input(5)];
    scaled_product(
        b,
        [b.x()?, b.input(1)?],
        zero_points,
        product_of_scales(b, 2, 3)?,
        b.node.input(6),
    )
}

/// Inputs: a in f32, b, b's scale, b's zero point, bias.
pub(super) fn dynamic_matmul(b: &Build) -> Formula {
    let a = b.op_outputs("DynamicQuantizeLinear", &[b.x()?], Attrs::default(), 3);
    let scale = b.mul(a[1], parameter(b, b.input(2)?));
    let zero_points = [Some(a[2]), b.node.input(3)];
    scaled_product(b, [a[0], b.input(1)?], zero_points, scale, b.node.input(4))
}

fn scaled_product(
    b: &Build,
    [left, right]: [ValueId; 2],
    [left_zero, right_zero]: [Option<ValueId>; 2],
    scale: ValueId,
    bias: Option<ValueId>,
) -> Formula {
    let inputs = [Some(left), Some(right), left_zero, right_zero];
    let product = b.op_with("MatMulInteger", &inputs, []);
    let y = b.mul(b.cast(product, DType::F32), scale);
    Ok(bias.map_or(y, |bias| b.add(y, bias)))
}

/// What f32 counts to exactly, in products with a byte.
const MAX_WEIGHTS: i64 = (1 << 24) / 255;

/// Exact in f32 while every sum of products stays below 2^24.
pub(super) fn conv_integer(b: &Build) -> Formula {
    let (x, w) = (b.x()?, b.input(1)?);
    let zero = b.node.input(3);
    if heaviest(b, w, zero)? > MAX_WEIGHTS {
        return Err(Skip::Refused("sums may exceed what f32 holds exactly"));
    }
    let x = b.cast(x, DType::F32);
    let x = match b.node.input(2) {
        Some(zero) => b.sub(x, b.cast(parameter(b, zero), DType::F32)),
        None => x,
    };
    let mut centred = b.cast(w, DType::F32);
    if let Some(zero) = zero {
        let mut zero = parameter(b, zero);
        if b.shape(b.input(3)?)?.elements().value() != Some(1) {
            let mut per_feature = vec![1; b.rank(w)?];
            per_feature[0] = -1;
            zero = b.reshape(zero, &per_feature);
        }
        centred = b.sub(centred, b.cast(zero, DType::F32));
    }
    let y = b.op_attrs("Conv", &[x, centred], b.node.attrs.clone());
    Ok(b.cast(y, DType::I32))
}

/// The largest sum of weights of a feature without their signs.
fn heaviest(b: &Build, w: ValueId, zero: Option<ValueId>) -> Result<i64, Skip> {
    let per_feature: i64 = b.sizes(w)?.iter().skip(1).product();
    let zeros = zero.map_or(Ok(vec![0]), |zero| b.known_ints(zero));
    let (Ok(weights), Ok(zeros)) = (b.known_ints(w), zeros) else {
        return Ok(per_feature.saturating_mul(255));
    };
    let zeros = zeros.iter().cycle();
    let features = weights
        .chunks(usize::try_from(per_feature).unwrap_or(1).max(1))
        .zip(zeros);
    let sums = features.map(|(feature, zero)| feature.iter().map(|w| (w - zero).abs()).sum());
    Ok(sums.max().unwrap_or(0))
}

// (A - a)(B - b) = AB - a colsum(B) - b rowsum(A - a)
pub(super) fn matmul_integer(b: &Build) -> Formula {
    let (x, w) = (b.x()?, b.input(1)?);
    let mut y = b.op("MatMulInteger", &[x, w]);
    let (mut x, w) = (b.cast(x, DType::I32), b.cast(w, DType::I32));
    let is_single = |zero: ValueId| {
        b.fact(zero)
            .sizes()
            .is_none_or(|sizes| sizes.len() < 2 && sizes.iter().all(|&n| n == 1))
    };
    let (x_zero, w_zero) = (b.node.input(2), b.node.input(3));
    let zeros = [x_zero, w_zero];
    if zeros.into_iter().flatten().all(is_single) {
        // rten takes a list of one for the zero points of one row or column.
        if zeros
            .into_iter()
            .flatten()
            .all(|zero| b.fact(zero).sizes().is_some_and(|sizes| sizes.is_empty()))
        {
            return Err(Skip::NoMatch);
        }
        let [x_zero, w_zero] = zeros.map(|zero| zero.map(|zero| b.reshape(zero, &[])));
        let inputs = [Some(b.x()?), Some(b.input(1)?), x_zero, w_zero];
        return Ok(b.op_with("MatMulInteger", &inputs, []));
    }
    if let Some(zero) = x_zero {
        let mut zero = b.cast(zero, DType::I32);
        if b.rank(b.input(2)?)? == 1 {
            zero = b.reshape(zero, &[-1, 1]);
        }
        y = b.sub(y, b.mul(zero, b.reduce("ReduceSum", w, &[-2])));
        x = b.sub(x, zero);
    }
    if let Some(zero) = w_zero {
        y = b.sub(
            y,
            b.mul(b.cast(zero, DType::I32), b.reduce("ReduceSum", x, &[-1])),
        );
    }
    Ok(y)
}

pub(super) fn quantize_linear(b: &Build) -> Formula {
    b.again("QuantizeLinear", &b.node.inputs, b.node.attrs.clone())
}

pub(super) fn dequantize_linear(b: &Build) -> Formula {
    b.again("DequantizeLinear", &b.node.inputs, b.node.attrs.clone())
}
