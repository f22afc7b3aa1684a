//! Comparing graphs before and after a rewrite, as text.

use std::fmt::Write as _;

use sentinel_inference::error::Error;
use sentinel_inference::graph::text::parse;
use sentinel_inference::graph::{Graph, Source, ValueId, infer};
use sentinel_inference::tensor::Tensor;

/// A graph as one expression for each output: names of values between do not count.
pub fn expressions(graph: &Graph) -> String {
    let mut text = String::new();
    for &output in &graph.outputs {
        let expression = match &graph.value(output).source {
            Source::Node { .. } => made(graph, output),
            _ => expression(graph, output),
        };
        writeln!(text, "{} = {expression}", graph.value(output).name).expect("strings grow");
    }
    text
}

fn expression(graph: &Graph, value: ValueId) -> String {
    match &graph.value(value).source {
        Source::Constant(tensor) => constant(tensor),
        Source::Node { .. } => made(graph, value),
        _ => graph.value(value).name.to_string(),
    }
}

fn made(graph: &Graph, value: ValueId) -> String {
    let Source::Node { node, output_idx } = graph.value(value).source else {
        unreachable!("callers have seen a node");
    };
    let node = graph.node(node);
    let inputs: Vec<String> = node
        .inputs
        .iter()
        .map(|input| input.map_or("_".to_owned(), |input| expression(graph, input)))
        .collect();
    let mut text = format!("{}({})", node.op, inputs.join(", "));
    if !node.attrs.is_empty() {
        let attrs: Vec<String> = node
            .attrs
            .iter()
            .map(|(name, attr)| format!("{name} = {attr:?}"))
            .collect();
        write!(text, " {{{}}}", attrs.join(", ")).expect("strings grow");
    }
    for (name, body) in &node.bodies {
        write!(text, " {name} [{}]", expressions(body).trim_end()).expect("strings grow");
    }
    if output_idx > 0 {
        write!(text, "#{output_idx}").expect("strings grow");
    }
    text
}

fn constant(tensor: &Tensor) -> String {
    let elements = match (tensor.to_i64s(), tensor.to_f64s()) {
        (Some(elements), _) => format!("{elements:?}"),
        (_, Some(elements)) => format!("{elements:?}"),
        _ => format!("{:?}", tensor.data()),
    };
    format!("{}{:?} {elements}", tensor.dtype(), tensor.sizes())
}

pub fn graph(text: &str) -> Graph {
    parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// Compares what a rewrite makes of each input with the expected graph; reports all that differ.
pub fn check(rewrite: impl Fn(&mut Graph) -> Result<(), Error>, cases: &[(&str, &str)]) {
    let mut failures = String::new();
    for (before, after) in cases {
        let mut actual = graph(before);
        infer(&mut actual).unwrap_or_else(|error| panic!("{error} in\n{before}"));
        let actual = match rewrite(&mut actual) {
            Ok(()) => expressions(&actual),
            Err(error) => format!("{}: {error}", error.kind.code()),
        };
        let expected = match after.strip_prefix("error ") {
            Some(error) => error.to_owned(),
            None => expressions(&graph(after)),
        };
        if actual != expected {
            writeln!(failures, "{before}\n  made\n{actual}\n  for\n{expected}")
                .expect("strings grow");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
