//! Operators as formulas of simpler ones, for backends that do not have them.
//!
//! Formulas are those of ONNX's Operators.md and ONNX Runtime's ContribOperators.md. They are in
//! the forms of [`super::TARGET_OPSET`].

pub(super) mod activation;
mod contrib;
mod exact;
mod layout;
mod loss;
mod norm;
mod pool;
mod quantized;
mod reduce;

use super::Skip;
use super::build::{self, Build, Formula};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, infer};
use crate::ops::OpName;

type Rule = fn(&Build) -> Formula;

/// One line per operator. Operators of other domains have it in front.
const EXPANSIONS: &[(&str, Rule)] = &[
    ("Add", exact::sum_with_vector),
    ("AffineGrid", layout::affine_grid),
    ("ArgMax", reduce::arg_last),
    ("ArgMin", reduce::arg_last),
    ("BatchNormalization", norm::batch_normalization),
    ("BitShift", activation::bit_shift),
    ("BlackmanWindow", layout::window),
    ("Cast", exact::cast_to_bool),
    ("Celu", activation::celu),
    ("CenterCropPad", layout::center_crop_pad),
    ("Clip", activation::clip),
    ("Col2Im", layout::col2im),
    ("Compress", layout::compress),
    ("ConvInteger", quantized::conv_integer),
    ("DepthToSpace", layout::depth_to_space),
    ("Div", exact::equal_ranks),
    ("Dropout", activation::dropout),
    ("Elu", activation::elu),
    ("DynamicQuantizeLinear", exact::dynamic_quantize_linear),
    ("EyeLike", layout::eye_like),
    ("Gelu", activation::gelu),
    ("GlobalAveragePool", pool::global),
    ("GlobalLpPool", pool::global_lp),
    ("GlobalMaxPool", pool::global),
    ("GroupNormalization", norm::group_normalization),
    ("HammingWindow", layout::window),
    ("HannWindow", layout::window),
    ("HardSigmoid", activation::hard_sigmoid),
    ("HardSwish", activation::hard_swish),
    ("Hardmax", reduce::hardmax),
    ("InstanceNormalization", norm::instance_normalization),
    ("IsInf", activation::is_inf),
    ("LRN", norm::lrn),
    ("LayerNormalization", norm::layer_normalization),
    ("LeakyRelu", activation::leaky_relu),
    ("LpNormalization", norm::lp_normalization),
    ("LpPool", pool::lp),
    ("MatMulInteger", quantized::matmul_integer),
    ("Max", activation::chain),
    ("MaxUnpool", pool::max_unpool),
    ("Mean", activation::mean),
    (
        "MeanVarianceNormalization",
        norm::mean_variance_normalization,
    ),
    ("Min", activation::chain),
    ("Mish", activation::mish),
    ("NegativeLogLikelihoodLoss", loss::negative_log_likelihood),
    ("OneHot", reduce::one_hot),
    ("PRelu", activation::prelu),
    ("Pad", layout::pad_all_axes),
    ("Pow", exact::equal_ranks),
    ("QLinearConv", quantized::conv),
    ("QLinearMatMul", quantized::matmul),
    ("RMSNormalization", norm::rms_normalization),
    ("ReduceL1", reduce::l1),
    ("ReduceL2", reduce::l2),
    ("ReduceLogSum", reduce::log_sum),
    ("ReduceLogSumExp", reduce::log_sum_exp),
    ("ReduceSumSquare", reduce::sum_square),
    ("QuantizeLinear", exact::quantize_linear),
    ("Relu", activation::relu),
    ("Selu", activation::selu),
    ("Shrink", activation::shrink),
    ("Sign", exact::sign),
    ("Slice", exact::slice_by_axes),
    ("SoftmaxCrossEntropyLoss", loss::softmax_cross_entropy),
    ("Softplus", exact::softplus),
    ("Softsign", activation::softsign),
    ("SpaceToDepth", layout::space_to_depth),
    ("Squeeze", exact::axes_as_list),
    ("Sum", activation::chain),
    ("SwiGLU", activation::swiglu),
    ("Swish", activation::swish),
    ("ThresholdedRelu", activation::thresholded_relu),
    ("Trilu", layout::trilu),
    ("Unsqueeze", exact::axes_as_list),
    ("com.microsoft::BiasGelu", contrib::bias_gelu),
    (
        "com.microsoft::DequantizeLinear",
        quantized::dequantize_linear,
    ),
    (
        "com.microsoft::DynamicQuantizeMatMul",
        quantized::dynamic_matmul,
    ),
    ("com.microsoft::FastGelu", contrib::fast_gelu),
    ("com.microsoft::FusedConv", contrib::fused_conv),
    ("com.microsoft::FusedGemm", contrib::fused_gemm),
    ("com.microsoft::FusedMatMul", contrib::fused_matmul),
    ("com.microsoft::Gelu", contrib::gelu),
    (
        "com.microsoft::MatMulIntegerToFloat",
        quantized::matmul_integer_to_float,
    ),
    ("com.microsoft::QGemm", quantized::gemm),
    ("com.microsoft::QLinearAdd", quantized::add),
    ("com.microsoft::QLinearAveragePool", quantized::average_pool),
    ("com.microsoft::QLinearConcat", quantized::concat),
    (
        "com.microsoft::QLinearGlobalAveragePool",
        quantized::global_average_pool,
    ),
    ("com.microsoft::QLinearLeakyRelu", quantized::leaky_relu),
    ("com.microsoft::QLinearMul", quantized::mul),
    ("com.microsoft::QLinearSigmoid", quantized::sigmoid),
    ("com.microsoft::QLinearSoftmax", quantized::softmax),
    ("com.microsoft::QuantizeLinear", quantized::quantize_linear),
    ("com.microsoft::QuickGelu", contrib::quick_gelu),
    (
        "com.microsoft::SkipLayerNormalization",
        contrib::skip_layer_normalization,
    ),
    ("sentinel::Elementwise", contrib::chain),
    ("sentinel::FusedMatMul", contrib::own_matmul),
];

/// The rule for an operator, if it has one.
fn find(op: &OpName) -> Option<Rule> {
    let matches = |name: &str| match name.split_once("::") {
        Some((domain, name)) => domain == &*op.domain && name == &*op.name,
        None => op.is(name),
    };
    let (_, rule) = EXPANSIONS.iter().find(|(name, _)| matches(name))?;
    Some(*rule)
}

/// Formulas of formulas end within this many steps.
const MAX_DEPTH: usize = 8;

/// Replaces every node that `refused` names and that has a rule by simpler ones, in the graph and
/// in the bodies of its nodes, and what is refused of those in turn; then infers the facts of the
/// new values. Returns whether there was any.
///
/// # Errors
/// What inference finds, which for a graph that was inferred before is nothing new.
pub fn expand(graph: &mut Graph, refused: &dyn Fn(&Graph, NodeId) -> bool) -> Result<bool> {
    let mut changed = false;
    for _ in 0..MAX_DEPTH {
        if !expand_nodes(graph, refused)? {
            break;
        }
        infer(graph)?;
        changed = true;
    }
    Ok(changed)
}

fn expand_nodes(graph: &mut Graph, refused: &dyn Fn(&Graph, NodeId) -> bool) -> Result<bool> {
    let mut changed = false;
    for id in graph.order()? {
        let mut bodies = std::mem::take(&mut graph.node_mut(id).bodies);
        for body in bodies.values_mut() {
            changed |= expand_nodes(body, refused)?;
        }
        graph.node_mut(id).bodies = bodies;
        if refused(graph, id)
            && let Ok(patch) = expansion(graph, id)
        {
            patch.apply(graph)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// The patch that puts simpler nodes in the place of one.
pub(super) fn expansion(graph: &Graph, id: NodeId) -> Result<Patch, Skip> {
    let rule = find(&graph.node(id).op).ok_or(Skip::NoMatch)?;
    build::replace(graph, id, rule)
}
