//! What rten 0.27 computes right, as the ONNX suite measures it: one line per operator that rten
//! has. Anything else is refused, and expanded into what is here where a formula is known.

use crate::backend::support::{Facts, Rule, Verdict, always, refusal as table_refusal};
use crate::graph::{Graph, NodeId, Source};
use crate::tensor::{DType, Dim, Fact, Kind, Tensor};

use DType::{Bool, F16, F32, F64, I8, I32, I64, U8};

/// What rten carries as f32, i32, i8 or u8 without a loss that shows. bfloat16 is not among
/// them: models count on its rounding between operators.
const ALL: &[DType] = &[F32, F16, F64, I32, I64, Bool, U8, I8];
const FLOATS: &[DType] = &[F32, F16, F64];
const NUMBERS: &[DType] = &[F32, F16, F64, I32, I64];
const INTS: &[DType] = &[I32, I64];
const BYTES: &[DType] = &[U8, I8];

/// Why the cpu backend does not take a node; `None` when it does.
pub fn refusal(graph: &Graph, id: NodeId) -> Option<String> {
    let node = graph.node(id);
    let values = node.inputs.iter().chain(&node.outputs).flatten();
    for value in values {
        if let Some(what) = not_carried(&graph.value(*value).fact) {
            return Some(format!("cpu has no {} for {what}", node.op));
        }
    }
    let inner = node.bodies.values().find_map(|body| {
        let refused = |(id, _)| refusal(body, id);
        body.nodes().find_map(refused)
    });
    inner.or_else(|| table_refusal(TABLE, "cpu", graph, id))
}

fn not_carried(fact: &Fact) -> Option<String> {
    if fact.kind != Kind::Tensor {
        return Some("sequences and optionals".to_owned());
    }
    let dtype = fact.dtype.filter(|dtype| !ALL.contains(dtype))?;
    Some(dtype.to_string())
}

const fn rule(op: &'static str, types: &'static [DType], when: fn(&Facts) -> Verdict) -> Rule {
    Rule { op, types, when }
}

const TABLE: &[Rule] = &[
    rule("Abs", NUMBERS, always),
    rule("Acos", FLOATS, always),
    rule("Acosh", FLOATS, always),
    rule("Add", NUMBERS, add),
    rule("And", &[Bool], always),
    rule("Asin", FLOATS, always),
    rule("Asinh", FLOATS, always),
    rule("Atan", FLOATS, always),
    rule("Atanh", FLOATS, always),
    rule("Attention", FLOATS, attention),
    rule("AveragePool", FLOATS, pool),
    rule("BatchNormalization", FLOATS, batch_normalization),
    rule("BitCast", &[F32, I32], bit_cast),
    rule("Cast", ALL, cast),
    rule("CastLike", ALL, cast_like),
    rule("Ceil", FLOATS, always),
    rule("Clip", NUMBERS, always),
    rule("Concat", ALL, always),
    rule("ConstantOfShape", INTS, always),
    rule("Conv", FLOATS, conv),
    rule("ConvInteger", BYTES, conv_integer),
    rule("ConvTranspose", FLOATS, conv_transpose),
    rule("Cos", FLOATS, always),
    rule("Cosh", FLOATS, always),
    rule("CumSum", NUMBERS, always),
    rule("DepthToSpace", ALL, always),
    rule("DequantizeLinear", &[U8, I8, I32], dequantize_linear),
    rule("Div", NUMBERS, rank_of_first),
    rule("Einsum", FLOATS, always),
    rule("Elu", FLOATS, always),
    rule("Equal", ALL, always),
    rule("Erf", FLOATS, always),
    rule("Exp", FLOATS, always),
    rule("Expand", ALL, expand),
    rule("EyeLike", ALL, always),
    rule("Flatten", ALL, always),
    rule("Floor", FLOATS, always),
    rule("GRU", FLOATS, gru),
    rule("Gather", ALL, always),
    rule("GatherElements", ALL, always),
    rule("GatherND", ALL, always),
    rule("Gelu", FLOATS, always),
    rule("Gemm", FLOATS, always),
    rule("GlobalAveragePool", FLOATS, always),
    rule("GlobalMaxPool", FLOATS, always),
    rule("Greater", NUMBERS, always),
    rule("GreaterOrEqual", NUMBERS, always),
    rule("GridSample", FLOATS, grid_sample),
    rule("HardSigmoid", FLOATS, always),
    rule("HardSwish", FLOATS, always),
    rule("Identity", ALL, always),
    rule("If", ALL, always),
    rule("InstanceNormalization", FLOATS, always),
    rule("IsInf", FLOATS, is_inf),
    rule("IsNaN", FLOATS, always),
    rule("LSTM", FLOATS, lstm),
    rule("LayerNormalization", FLOATS, one_output),
    rule("LeakyRelu", FLOATS, always),
    rule("Less", NUMBERS, always),
    rule("LessOrEqual", NUMBERS, always),
    rule("Log", FLOATS, always),
    rule("LogSoftmax", FLOATS, always),
    rule("Loop", ALL, always),
    rule("MatMul", FLOATS, matmul),
    rule("MatMulInteger", BYTES, matmul_integer),
    rule("Max", NUMBERS, always),
    rule("MaxPool", FLOATS, max_pool),
    rule("Mean", FLOATS, always),
    rule("Min", NUMBERS, always),
    rule("Mod", NUMBERS, always),
    rule("Mul", NUMBERS, always),
    rule("Neg", NUMBERS, always),
    rule("NonZero", ALL, always),
    rule("Not", &[Bool], always),
    rule("OneHot", INTS, one_hot),
    rule("Or", &[Bool], always),
    rule("PRelu", FLOATS, always),
    rule("Pad", ALL, pad),
    rule("Pow", NUMBERS, pow),
    rule("RMSNormalization", FLOATS, one_output),
    rule("Range", NUMBERS, always),
    rule("Reciprocal", FLOATS, always),
    rule("ReduceL1", NUMBERS, always),
    rule("ReduceL2", NUMBERS, reduce_l2),
    rule("ReduceLogSum", FLOATS, always),
    rule("ReduceLogSumExp", FLOATS, always),
    rule("ReduceMax", NUMBERS, always),
    rule("ReduceMean", FLOATS, always),
    rule("ReduceMin", NUMBERS, always),
    rule("ReduceProd", NUMBERS, always),
    rule("ReduceSum", NUMBERS, always),
    rule("ReduceSumSquare", NUMBERS, always),
    rule("Relu", FLOATS, always),
    rule("Reshape", ALL, always),
    rule("Resize", FLOATS, resize),
    rule("ReverseSequence", ALL, always),
    rule("RotaryEmbedding", FLOATS, always),
    rule("Round", FLOATS, always),
    rule("ScatterElements", ALL, scatter_elements),
    rule("ScatterND", ALL, always),
    rule("Shape", ALL, always),
    rule("Sigmoid", FLOATS, always),
    rule("Sin", FLOATS, always),
    rule("Sinh", FLOATS, always),
    rule("Size", ALL, always),
    rule("Slice", ALL, slice),
    rule("Softmax", FLOATS, always),
    rule("Softsign", FLOATS, always),
    rule("Split", ALL, always),
    rule("Sqrt", FLOATS, always),
    rule("Squeeze", ALL, axes_list),
    rule("Sub", NUMBERS, always),
    rule("Sum", NUMBERS, always),
    rule("Swish", FLOATS, always),
    rule("Tan", FLOATS, always),
    rule("Tanh", FLOATS, always),
    rule("Tile", ALL, always),
    rule("TopK", NUMBERS, always),
    rule("Transpose", ALL, always),
    rule("Trilu", ALL, always),
    rule("Unsqueeze", ALL, axes_list),
    rule("Where", &[Bool], always),
    rule("Xor", &[Bool], always),
    rule("com.microsoft::BiasGelu", FLOATS, always),
    rule("com.microsoft::FastGelu", FLOATS, always),
    rule("com.microsoft::Gelu", FLOATS, always),
    rule("com.microsoft::MatMulNBits", FLOATS, always),
    rule("com.microsoft::QuickGelu", FLOATS, always),
    rule("com.microsoft::SkipLayerNormalization", FLOATS, one_output),
];

fn one_output(facts: &Facts) -> Verdict {
    if (1..facts.node.outputs.len()).any(|idx| facts.has_output(idx)) {
        return Err("only the first output is computed");
    }
    Ok(())
}

fn attention(facts: &Facts) -> Verdict {
    if facts.has_output(3) {
        return Err("the scores are no output");
    }
    if facts.has_input(6) {
        return Err("padded keys and values are not taken");
    }
    if facts.node.attrs.get("left_window_size").is_some() {
        return Err("windows are not taken");
    }
    Ok(())
}

/// One or two spatial axes.
fn planar(facts: &Facts) -> Verdict {
    // The weights of a convolution have the rank of its input.
    match facts.rank(0).or(facts.rank(1)) {
        Some(3 | 4) => Ok(()),
        Some(_) => Err("only one or two spatial axes are taken"),
        None => Err("the rank is unknown"),
    }
}

/// Explicit pads: what rten makes of `auto_pad` is right for `SAME_UPPER` only.
fn explicit_pads(facts: &Facts) -> Verdict {
    match facts.node.attrs.str("auto_pad") {
        None | Some("NOTSET" | "SAME_UPPER" | "VALID") => Ok(()),
        Some(_) => Err("auto_pad with sizes that are not known"),
    }
}

fn conv(facts: &Facts) -> Verdict {
    planar(facts)?;
    explicit_pads(facts)
}

fn conv_integer(facts: &Facts) -> Verdict {
    if facts.dtype(0) != facts.dtype(1) {
        return Err("factors of two types are added up wrong");
    }
    // rten packs the weights once for all pictures, and forgets their sums.
    if facts.sizes(0).is_none_or(|sizes| sizes[0] != 1) {
        return Err("several pictures are added up wrong");
    }
    // rten pads with 0 and not with the zero point.
    if facts
        .node
        .attrs
        .ints("pads")
        .is_some_and(|pads| pads.iter().any(|&pad| pad != 0))
    {
        return Err("padding is not taken");
    }
    conv(facts)
}

fn conv_transpose(facts: &Facts) -> Verdict {
    planar(facts)?;
    let no_list = |name: &str| {
        facts
            .node
            .attrs
            .ints(name)
            .is_none_or(|list| list.iter().all(|&n| n == 1))
    };
    if !no_list("dilations") {
        return Err("dilations are not taken");
    }
    explicit_pads(facts)
}

fn pool(facts: &Facts) -> Verdict {
    planar(facts)?;
    let ones = facts
        .node
        .attrs
        .ints("dilations")
        .is_none_or(|list| list.iter().all(|&n| n == 1));
    if !ones {
        return Err("dilations are not taken");
    }
    explicit_pads(facts)
}

fn max_pool(facts: &Facts) -> Verdict {
    one_output(facts)?;
    pool(facts)
}

/// rten fuses the sum of a product and a constant vector, and panics where the vector is not one
/// number for each column.
fn add(facts: &Facts) -> Verdict {
    for (idx, other) in [(0, 1), (1, 0)] {
        let Some([len]) = facts.constant(idx).map(Tensor::sizes) else {
            continue;
        };
        let source = |value| &facts.graph.value(value).source;
        let Some(Source::Node { node, .. }) = facts.node.input(other).map(source) else {
            continue;
        };
        let product = facts.graph.node(*node);
        if !product.op.is("MatMul") {
            continue;
        }
        let b = product
            .input(1)
            .and_then(|b| facts.graph.value(b).fact.shape.as_ref());
        let n_cols = match b {
            Some(b) if b.rank() > 1 => b.last().and_then(Dim::size),
            _ => None,
        };
        if n_cols != Some(*len) {
            return Err("a vector behind a product has not one number for each column");
        }
    }
    Ok(())
}

/// Where the second of two floats is a single number, rten forgets how many axes it has.
fn rank_of_first(facts: &Facts) -> Verdict {
    let is_float = facts.dtype(0).is_none_or(DType::is_float);
    let (Some(a), Some(b)) = (facts.rank(0), facts.rank(1)) else {
        return Ok(());
    };
    let may_be_single = facts
        .sizes(1)
        .is_none_or(|sizes| sizes.iter().all(|&size| size == 1));
    if is_float && a < b && may_be_single {
        return Err("a single number would lose its axes");
    }
    Ok(())
}

/// rten leaves a single number its sign where it reduces over no axis.
fn reduce_l2(facts: &Facts) -> Verdict {
    if facts.int("noop_with_empty_axes", 0) != 0 || facts.rank(0) == Some(0) {
        return Err("a number may stay negative");
    }
    Ok(())
}

/// rten panics at steps along some of more than four axes.
fn slice(facts: &Facts) -> Verdict {
    if facts.rank(0).is_none_or(|rank| rank <= 4) || !facts.has_input(4) {
        return Ok(());
    }
    match facts.constant(4).and_then(Tensor::to_i64s) {
        Some(steps) if steps.iter().all(|&step| step == 1) => Ok(()),
        _ => Err("steps along some of more than four axes"),
    }
}

fn batch_normalization(facts: &Facts) -> Verdict {
    if facts.int("training_mode", 0) != 0 {
        return Err("training mode is not taken");
    }
    one_output(facts)
}

fn axes_list(facts: &Facts) -> Verdict {
    match facts.rank(1) {
        Some(0) => Err("the axes are no list"),
        _ => Ok(()),
    }
}

fn bit_cast(facts: &Facts) -> Verdict {
    match facts.output(0).and_then(|fact| fact.dtype) {
        Some(F32 | I32) => Ok(()),
        _ => Err("only float32 and int32 keep their bits"),
    }
}

fn cast(facts: &Facts) -> Verdict {
    if facts.int("saturate", 1) != 1 {
        return Err("saturate = 0 is not taken");
    }
    let is_bool = facts.dtype(0) == Some(Bool);
    if !is_bool && facts.int("to", 0) == i64::from(DType::Bool.onnx()) {
        return Err(TO_BOOL);
    }
    Ok(())
}

const TO_BOOL: &str = "a fraction would be false, and a number would stay what it is";

fn cast_like(facts: &Facts) -> Verdict {
    if facts.dtype(1) == Some(Bool) && facts.dtype(0) != Some(Bool) {
        return Err(TO_BOOL);
    }
    Ok(())
}

fn scatter_elements(facts: &Facts) -> Verdict {
    let (Some(x), Some(indices)) = (facts.sizes(0), facts.sizes(1)) else {
        return Err("sizes are known only when the model runs");
    };
    let axis = facts.axis("axis", 0, x.len());
    // rten walks the lines of both side by side: they have to be as many, in the same order.
    let pairs = x.iter().zip(&indices).enumerate();
    let mut others = pairs.filter(|(idx, _)| Some(*idx) != axis).skip(1);
    if others.any(|(_, (x, indices))| x != indices) {
        return Err("indices cover a part of an axis");
    }
    Ok(())
}

fn dequantize_linear(facts: &Facts) -> Verdict {
    if facts.int("block_size", 0) != 0 {
        return Err("blocks are not taken");
    }
    Ok(())
}

fn expand(facts: &Facts) -> Verdict {
    let target = facts
        .input(1)
        .and_then(|fact| fact.shape.as_ref()?.first()?.size());
    match (facts.rank(0), target) {
        (Some(rank), Some(target)) if target < rank => Err("the shape is shorter than the rank"),
        _ => Ok(()),
    }
}

fn grid_sample(facts: &Facts) -> Verdict {
    if facts.rank(0) != Some(4) {
        return Err("only two spatial axes are taken");
    }
    match facts.node.attrs.str("mode") {
        None | Some("linear" | "bilinear") => Ok(()),
        Some(_) => Err("only the linear mode is taken"),
    }
}

fn default_activations(facts: &Facts) -> Verdict {
    let extras = [
        "activations",
        "activation_alpha",
        "activation_beta",
        "clip",
        "layout",
        "input_forget",
    ];
    let plain = |name: &str| facts.node.attrs.get(name).is_none() || facts.int(name, 1) == 0;
    if extras.into_iter().all(plain) {
        return Ok(());
    }
    let names = match facts.node.attrs.get("activations") {
        Some(crate::ops::Attr::Strs(names)) => names.as_slice(),
        _ => &[],
    };
    let usual: &[&[u8]] = match &*facts.node.op.name {
        "LSTM" => &[b"Sigmoid", b"Tanh", b"Tanh"],
        _ => &[b"Sigmoid", b"Tanh"],
    };
    let usual = names
        .iter()
        .zip(usual.iter().cycle())
        .all(|(name, usual)| name == usual);
    if usual && extras[1..].iter().all(|name| plain(name)) {
        return Ok(());
    }
    Err("only the default activations and layout are taken")
}

fn gru(facts: &Facts) -> Verdict {
    if facts.int("linear_before_reset", 0) == 0 {
        return Err("linear_before_reset = 0 is not taken");
    }
    if facts.has_input(4) {
        return Err("sequence lengths are not taken");
    }
    default_activations(facts)
}

fn lstm(facts: &Facts) -> Verdict {
    if facts.has_input(4) || facts.has_input(7) {
        return Err("sequence lengths and peepholes are not taken");
    }
    default_activations(facts)
}

fn is_inf(facts: &Facts) -> Verdict {
    if facts.int("detect_negative", 1) == 1 && facts.int("detect_positive", 1) == 1 {
        return Ok(());
    }
    Err("one sign alone is not taken")
}

fn matmul(facts: &Facts) -> Verdict {
    if facts.rank(1) == Some(1) && facts.rank(0) != Some(1) && facts.rank(0) != Some(2) {
        return Err("a vector on the right of a batch is not taken");
    }
    Ok(())
}

fn matmul_integer(facts: &Facts) -> Verdict {
    let single = |idx| {
        let fact = facts.input(idx);
        fact.is_none_or(|fact| fact.sizes().is_some_and(|sizes| sizes.is_empty()))
    };
    // rten takes those of the first columns for the later ones, too, and lists of one for one row.
    if !single(2) || !single(3) {
        return Err("a zero point is not a scalar");
    }
    if facts.dtype(1) == Some(U8) && facts.dtype(0) == Some(I8) {
        return Err("int8 times uint8 is not taken");
    }
    Ok(())
}

fn one_hot(facts: &Facts) -> Verdict {
    match facts.dtype(1) {
        Some(I32 | I64) => Ok(()),
        _ => Err("the depth is no integer"),
    }
}

fn pad(facts: &Facts) -> Verdict {
    if facts.has_input(3) {
        return Err("axes are not taken");
    }
    match facts.node.attrs.str("mode") {
        None | Some("constant" | "reflect" | "edge" | "wrap") => Ok(()),
        Some(_) => Err("the mode is not taken"),
    }
}

fn pow(facts: &Facts) -> Verdict {
    if facts.dtype(0) != facts.dtype(1) {
        return Err("base and exponent are of two types");
    }
    rank_of_first(facts)
}

fn resize(facts: &Facts) -> Verdict {
    let attr = |name| facts.node.attrs.str(name);
    if facts.int("antialias", 0) != 0 || facts.node.attrs.get("axes").is_some() {
        return Err("antialias and axes are not taken");
    }
    if attr("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
        return Err("only the stretch policy is taken");
    }
    let transform = attr("coordinate_transformation_mode").unwrap_or("half_pixel");
    if matches!(transform, "tf_crop_and_resize" | "half_pixel_symmetric") {
        return Err("the coordinate transformation is not taken");
    }
    match attr("mode").unwrap_or("nearest") {
        "nearest" => Ok(()),
        "linear" if transform == "align_corners" && !whole_scales(facts) => {
            Err("align_corners with a scale that is not whole")
        }
        "linear" if facts.rank(0).is_none_or(|rank| rank > 4) => Err("more than two spatial axes"),
        "linear" => Ok(()),
        _ => Err("the mode is not taken"),
    }
}

/// Sizes given, or scales that give whole sizes.
fn whole_scales(facts: &Facts) -> bool {
    if facts.has_input(3) {
        return true;
    }
    let scales = facts.constant(2).and_then(|scales| scales.to_f64s());
    let (Some(scales), Some(sizes)) = (scales, facts.sizes(0)) else {
        return false;
    };
    scales
        .iter()
        .zip(sizes)
        .all(|(scale, size)| (scale * size as f64).fract() == 0.0)
}
