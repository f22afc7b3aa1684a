//! Where the rows of a node's outputs are, one line per family of operators.
//!
//! A rule is asked where an input carries rows or their number. It accepts only what makes a row
//! of the outputs from the same row of the inputs, in the same way for every row.

mod attention;
mod elementwise;
mod index;
mod layers;
mod product;
mod recurrent;
mod reduce;
mod views;

use super::class::{Class, Content, Place};
use super::site::{Site, Verdict};
use crate::graph::{Graph, Node, NodeId};
use crate::tensor::Tensor;

struct Rule {
    ops: &'static [&'static str],
    /// Inputs that may carry rows; the others must be the same for all.
    rows: Carriers,
    /// Inputs that may say how many rows there are.
    extents: &'static [usize],
    place: fn(&Site) -> Verdict,
}

enum Carriers {
    All,
    Only(&'static [usize]),
}

use Carriers::{All, Only};

const fn rule(ops: &'static [&'static str], rows: Carriers, place: fn(&Site) -> Verdict) -> Rule {
    Rule {
        ops,
        rows,
        extents: &[],
        place,
    }
}

const fn shaped(
    ops: &'static [&'static str],
    rows: &'static [usize],
    extents: &'static [usize],
    place: fn(&Site) -> Verdict,
) -> Rule {
    Rule {
        ops,
        rows: Only(rows),
        extents,
        place,
    }
}

const RULES: &[Rule] = &[
    rule(elementwise::UNARY, Only(&[0]), elementwise::unary),
    rule(elementwise::BROADCAST, All, elementwise::broadcast),
    rule(
        elementwise::QUANTIZED_BROADCAST,
        Only(&[0, 3]),
        elementwise::quantized_broadcast,
    ),
    rule(elementwise::QUANTIZED, Only(&[0]), elementwise::quantized),
    rule(&["DynamicQuantizeLinear"], All, |_| {
        Err("it takes one scale for the whole batch".into())
    }),
    rule(&["Dropout"], Only(&[0]), elementwise::dropout),
    rule(&["MatMul"], Only(&[0, 1]), product::matmul),
    rule(&["Gemm"], Only(&[0, 1, 2]), product::gemm),
    rule(&["MatMulInteger"], Only(&[0, 1]), product::matmul_integer),
    rule(&["QLinearMatMul"], Only(&[0, 3]), product::qlinear_matmul),
    rule(&["com.microsoft::QGemm"], Only(&[0]), product::qgemm),
    rule(
        &["com.microsoft::MatMulNBits"],
        Only(&[0]),
        product::by_features,
    ),
    rule(&["Einsum"], All, product::einsum),
    rule(layers::ITEMS, Only(&[0]), layers::items),
    rule(layers::ITEMS_OF_TWO, Only(&[0, 1]), layers::items),
    rule(&["MaxPool"], Only(&[0]), layers::max_pool),
    rule(
        &["BatchNormalization"],
        Only(&[0]),
        layers::batch_normalization,
    ),
    rule(layers::LAYER_NORMS, Only(&[0]), layers::layer_norm),
    rule(layers::SKIP_NORMS, Only(&[0, 1]), layers::skip_norm),
    shaped(&["Resize"], &[0], &[3], layers::resize),
    rule(reduce::ALONG_AXIS, Only(&[0]), reduce::along_axis),
    rule(&["ArgMax", "ArgMin"], Only(&[0]), reduce::arg),
    rule(reduce::REDUCTIONS, Only(&[0]), reduce::reduction),
    rule(&["CumSum"], Only(&[0]), reduce::cumulate),
    rule(&["Det", "Trilu"], Only(&[0]), reduce::matrices),
    shaped(&["Reshape"], &[0], &[1], views::reshape),
    rule(&["Flatten"], Only(&[0]), views::flatten),
    rule(&["Squeeze"], Only(&[0]), views::squeeze),
    rule(&["Unsqueeze"], Only(&[0]), views::unsqueeze),
    rule(&["Transpose"], Only(&[0]), views::transpose),
    shaped(&["Expand"], &[0], &[1], views::expand),
    shaped(&["ConstantOfShape"], &[], &[0], views::constant_of_shape),
    shaped(&["Range"], &[], &[1], views::range),
    rule(&["Concat"], All, index::concat),
    rule(&["Split"], Only(&[0]), index::split),
    shaped(&["Slice"], &[0], &[1, 2], index::slice),
    rule(&["Pad"], Only(&[0]), index::pad),
    rule(&["Tile"], Only(&[0]), index::tile),
    rule(&["Gather"], Only(&[0, 1]), index::gather),
    rule(&["GatherElements"], Only(&[0, 1]), index::gather_elements),
    rule(&["GatherND"], Only(&[0, 1]), index::gather_nd),
    rule(
        &["ScatterElements"],
        Only(&[0, 1, 2]),
        index::scatter_elements,
    ),
    rule(&["OneHot"], Only(&[0]), index::one_hot),
    rule(
        &["GRU", "LSTM", "RNN"],
        Only(&[0, 4, 5, 6]),
        recurrent::recurrent,
    ),
    rule(&["Attention"], All, attention::attention),
    rule(attention::MICROSOFT, All, attention::microsoft),
];

/// Where the rows of the outputs are, and what they are made from.
pub(super) fn places(site: &Site) -> Result<(Vec<Place>, Content), String> {
    let op = site.node.op.to_string();
    let rule = RULES.iter().find(|rule| rule.ops.contains(&op.as_str()));
    let rule = rule.ok_or("no rule for rows")?;
    for idx in 0..site.node.inputs.len() {
        match site.class(idx) {
            Some(Class::Rows(..)) if matches!(rule.rows, Only(list) if !list.contains(&idx)) => {
                return Err(format!("input {idx} differs from row to row"));
            }
            Some(Class::Extent) if !rule.extents.contains(&idx) => {
                return Err(format!("input {idx} is computed from the number of rows"));
            }
            _ => {}
        }
    }
    let places = (rule.place)(site)?;
    Ok((places, content(site, &op)))
}

/// Operators that move elements and leave them as they are.
const MOVES: &[&str] = &["Expand", "Identity", "Squeeze", "Transpose", "Unsqueeze"];

fn content(site: &Site, op: &str) -> Content {
    let contents: Vec<Content> = (0..site.node.inputs.len())
        .filter_map(|idx| site.content(idx))
        .collect();
    match (op, &contents[..]) {
        ("Range", _) => Content::Number,
        (op, [Content::Number]) if MOVES.contains(&op) => Content::Number,
        ("Concat", _) if index::puts_number_first(site) => Content::NumberFirst,
        // Each row picks from itself; within rows the number would be one of their elements.
        ("GatherND", [Content::Row, Content::NumberFirst]) if site.int("batch_dims", 0) == 0 => {
            Content::Row
        }
        (_, contents) if contents.iter().all(|&content| content == Content::Row) => Content::Row,
        _ => Content::Numbered,
    }
}

/// True where inputs that carry rows are broadcast to one shape.
pub(super) fn is_broadcast(op: &str) -> bool {
    elementwise::BROADCAST.contains(&op) || elementwise::QUANTIZED_BROADCAST.contains(&op)
}

/// Gives other elements at every run.
pub(super) fn is_random(node: &Node) -> bool {
    let name = &*node.op.name;
    name.starts_with("Random") || matches!(name, "Bernoulli" | "Multinomial")
}

/// The body of an `If` that a known condition takes.
pub(super) fn known_branch(graph: &Graph, id: NodeId) -> Option<&'static str> {
    let condition = graph.constant(graph.node(id).input(0)?);
    let condition = condition.and_then(Tensor::to_i64s)?;
    Some(match *condition.first()? {
        0 => "else_branch",
        _ => "then_branch",
    })
}
