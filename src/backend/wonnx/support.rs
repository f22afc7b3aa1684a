//! What wonnx 0.5.1 computes right, as measured with ONNX's own cases and with random nodes and
//! graphs against rten. What is not measured is refused.
//!
//! The graph is prepared and lowered: these rules judge exactly what wonnx reads.

mod conv;
mod elementwise;
mod matmul;
mod reduce;
mod select;
mod whole;

#[cfg(test)]
mod tests;

use crate::backend::support::{self, Facts, Rule, Verdict, always};
use crate::graph::{Graph, NodeId};
use crate::tensor::{DType, Fact, Kind};

#[cfg(feature = "wonnx")]
pub(super) use whole::MAX_DEPTH;
pub use whole::graph_refusal;

/// The element types that wonnx's buffers have.
const ANY: &[DType] = &[DType::F32, DType::I32, DType::I64];
/// Arithmetic on `i64` runs in 32 bits, where it overflows and ONNX's does not.
const NUMBER: &[DType] = &[DType::F32, DType::I32];
const FLOAT: &[DType] = &[DType::F32];

/// Groups of invocations in one dimension of a launch, and invocations in one group.
const MAX_GROUPS: u64 = 65_535;
const MAX_GROUP_SIZE: u64 = 256;

const UNKNOWN_SIZE: &str = "a size is unknown";

const fn rule(op: &'static str, types: &'static [DType], when: fn(&Facts) -> Verdict) -> Rule {
    Rule { op, types, when }
}

const TABLE: &[Rule] = &[
    rule("Abs", NUMBER, always),
    rule("Acosh", FLOAT, always),
    rule("Add", NUMBER, one_type),
    rule("Asinh", FLOAT, always),
    rule("Atan", FLOAT, always),
    rule("Atanh", FLOAT, always),
    rule("AveragePool", FLOAT, conv::average_pool),
    rule("BatchNormalization", FLOAT, conv::batch_normalization),
    rule("Cast", ANY, elementwise::cast),
    rule("Ceil", FLOAT, always),
    rule("Celu", FLOAT, elementwise::positive_alpha),
    rule("Clip", FLOAT, elementwise::clip),
    rule("Concat", ANY, select::concat),
    rule("Conv", FLOAT, conv::conv),
    rule("Cos", FLOAT, always),
    rule("Cosh", FLOAT, always),
    rule("Div", NUMBER, elementwise::div),
    rule("Dropout", ANY, select::one_input),
    rule("Elu", FLOAT, elementwise::positive_alpha),
    rule("Exp", FLOAT, always),
    rule("Flatten", ANY, always),
    rule("Floor", FLOAT, always),
    rule("Gather", ANY, select::gather),
    rule("Gemm", FLOAT, matmul::gemm),
    rule("GlobalAveragePool", FLOAT, conv::over_pictures),
    rule("Identity", ANY, always),
    rule("LeakyRelu", FLOAT, elementwise::leaky_relu),
    rule("Log", FLOAT, always),
    rule("MatMul", FLOAT, matmul::matmul),
    rule("MaxPool", FLOAT, conv::max_pool),
    rule("Mul", NUMBER, one_type),
    rule("Neg", NUMBER, always),
    rule("OneHot", &[DType::I32], select::one_hot),
    rule("PRelu", FLOAT, elementwise::prelu),
    rule("Pad", FLOAT, select::pad),
    rule("Pow", FLOAT, elementwise::pow),
    rule("Reciprocal", FLOAT, always),
    rule("ReduceL1", FLOAT, reduce::reduce),
    rule("ReduceL2", FLOAT, reduce::reduce),
    rule("ReduceLogSum", FLOAT, reduce::reduce),
    rule("ReduceMax", NUMBER, reduce::reduce),
    rule("ReduceMean", FLOAT, reduce::reduce),
    rule("ReduceMin", NUMBER, reduce::reduce),
    rule("ReduceProd", NUMBER, reduce::reduce),
    rule("ReduceSum", NUMBER, reduce::reduce),
    rule("ReduceSumSquare", FLOAT, reduce::reduce),
    rule("Relu", FLOAT, always),
    rule("Reshape", ANY, select::reshape),
    rule("Resize", FLOAT, select::resize),
    rule("Round", FLOAT, always),
    rule("Sigmoid", FLOAT, always),
    rule("Sign", NUMBER, always),
    rule("Sin", FLOAT, always),
    rule("Sinh", FLOAT, always),
    rule("Softmax", FLOAT, reduce::softmax),
    rule("Softsign", FLOAT, always),
    rule("Split", ANY, select::split),
    rule("Sqrt", FLOAT, always),
    rule("Squeeze", ANY, select::one_input),
    rule("Sub", NUMBER, one_type),
    rule("Tan", FLOAT, always),
    rule("Tanh", FLOAT, always),
    rule("Transpose", ANY, select::transpose),
    rule("Unsqueeze", ANY, select::one_input),
    // Not here, though wonnx has them. Acos, Asin: right to three digits only. Mod: the sign is
    // wrong. Softplus, ReduceLogSumExp: they overflow above 88. And, Or, comparisons: no bool.
];

/// Operators that give on their input's buffer without a launch.
const FORWARDING: &[&str] = &[
    "Dropout",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
];

/// Why wonnx does not take a node; `None` when it does.
pub fn refusal(graph: &Graph, id: NodeId) -> Option<String> {
    let node = graph.node(id);
    let facts = Facts { graph, node };
    if TABLE.iter().any(|rule| node.op.is(rule.op))
        && let Err(why) = every_node(&facts)
    {
        return Some(format!("wonnx: {}: {why}", node.op));
    }
    support::refusal(TABLE, "wonnx", graph, id)
}

/// What wonnx wants of every node, whatever its operator.
fn every_node(facts: &Facts) -> Verdict {
    let node = facts.node;
    require(
        node.outputs.iter().all(Option::is_some),
        "an output is left out",
    )?;
    let n_outputs = node.outputs.len();
    require(
        n_outputs == 1 || node.op.is("Split"),
        "a second output is read",
    )?;
    for idx in 0..node.inputs.len() {
        // The places of a picture that `Resize` looks at are ignored in its usual modes.
        if node.op.is("Resize") && idx == 1 {
            continue;
        }
        let fact = facts.input(idx).ok_or("an input is left out")?;
        // The shape of a scalar has no elements, and wonnx does not make a buffer for it.
        let is_shape = node.op.is("Reshape") && idx == 1;
        every_value(fact, is_shape)?;
    }
    let are_constant = (0..node.inputs.len()).all(|idx| facts.constant(idx).is_some());
    require(!are_constant, "all inputs are constants")?;
    for idx in 0..n_outputs {
        every_value(facts.output(idx).ok_or("an output is left out")?, false)?;
        let is_launched = !FORWARDING.iter().any(|op| node.op.is(op));
        let n_elements = elements(&facts.output_sizes(idx).ok_or(UNKNOWN_SIZE)?);
        let fits = n_elements <= MAX_GROUPS * MAX_GROUP_SIZE;
        require(
            !is_launched || fits,
            "the output has more than 16,776,960 elements",
        )?;
    }
    Ok(())
}

fn every_value(fact: &Fact, may_be_empty: bool) -> Verdict {
    require(fact.kind == Kind::Tensor, "a value is no tensor")?;
    let dtype = fact.dtype.ok_or("an element type is unknown")?;
    require(
        ANY.contains(&dtype),
        "an element type is none of f32, i32 and i64",
    )?;
    let sizes = fact.sizes().ok_or(UNKNOWN_SIZE)?;
    require(
        may_be_empty || !sizes.contains(&0),
        "a value has no elements",
    )
}

fn require(holds: bool, why: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(why) }
}

/// wonnx writes a number into the shader without an exponent, and WGSL reads a long one as an
/// integer too large.
fn literal(number: f32) -> Verdict {
    require(
        number.abs() <= 1e10,
        "a number among its attributes is above 1e10",
    )
}

/// All inputs and outputs have one element type.
fn one_type(facts: &Facts) -> Verdict {
    let n_inputs = facts.node.inputs.len();
    let mut types = (0..n_inputs).map(|idx| facts.dtype(idx));
    let first = facts.dtype(0);
    let same = types.all(|dtype| dtype == first);
    let kept = facts.output(0).and_then(|fact| fact.dtype) == first;
    require(same && kept, "its values differ in element type")
}

fn sizes(facts: &Facts, idx: usize) -> Result<Vec<usize>, &'static str> {
    facts.sizes(idx).ok_or(UNKNOWN_SIZE)
}

fn elements(sizes: &[usize]) -> u64 {
    sizes
        .iter()
        .fold(1_u64, |count, &size| count.saturating_mul(size as u64))
}

/// wonnx launches more than 65,535 items in groups of several; where the last group is not full,
/// shaders without a check of bounds write outside their part.
fn launches_exactly(n_items: u64) -> bool {
    let group = n_items.div_ceil(MAX_GROUPS).max(1);
    group <= MAX_GROUP_SIZE && n_items.is_multiple_of(group)
}

/// A list attribute of `len` numbers, none below `least`; `default` for all when it is absent.
fn ints(
    facts: &Facts,
    attr: &str,
    len: usize,
    least: i64,
    default: Option<i64>,
) -> Result<Vec<i64>, &'static str> {
    let values = match (facts.node.attrs.ints(attr), default) {
        (Some(values), _) => values.to_vec(),
        (None, Some(default)) if facts.node.attrs.get(attr).is_none() => vec![default; len],
        _ => return Err("a list attribute is missing"),
    };
    let fits = values.len() == len && values.iter().all(|&value| value >= least);
    if fits {
        Ok(values)
    } else {
        Err("a list attribute has a wrong length or value")
    }
}
