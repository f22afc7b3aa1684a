//! A graph to text.

use std::fmt::Write;

use super::cursor::quoted;
use super::data;
use crate::graph::{Graph, Node, NodeId, Source, ValueId};
use crate::ops::Attr;
use crate::tensor::{Fact, Kind, Tensor};

/// The whole graph; [`super::parse`] reads it back.
pub fn print(graph: &Graph) -> String {
    Printer {
        out: String::new(),
        is_short: false,
    }
    .print(graph)
}

/// The graph for people: large constants are `...`.
pub fn print_short(graph: &Graph) -> String {
    Printer {
        out: String::new(),
        is_short: true,
    }
    .print(graph)
}

/// Elements of a constant that people still want to see.
const MAX_SHORT: usize = 16;

struct Printer {
    out: String,
    is_short: bool,
}

impl Printer {
    fn print(mut self, graph: &Graph) -> String {
        for (domain, version) in &graph.opsets {
            let domain = if domain.is_empty() {
                String::new()
            } else {
                quoted(domain) + " "
            };
            self.line(0, &format!("opset {domain}{version}"));
        }
        self.graph(graph, 0);
        self.out
    }

    fn line(&mut self, depth: usize, text: &str) {
        let indent = "  ".repeat(depth);
        writeln!(self.out, "{indent}{text}").expect("a string takes everything");
    }

    fn graph(&mut self, graph: &Graph, depth: usize) {
        for &id in &graph.inputs {
            let value = graph.value(id);
            let mut line = format!("input {}: {}", quoted(&value.name), fact(&value.fact));
            if let Source::Input {
                default: Some(tensor),
            } = &value.source
            {
                line += &format!(" = {}", self.elements(tensor));
            }
            self.line(depth, &line);
        }
        for (_, value) in graph.values() {
            if let Source::Constant(tensor) = &value.source {
                let elements = self.elements(tensor);
                let line = format!(
                    "const {}: {} = {elements}",
                    quoted(&value.name),
                    kind(tensor)
                );
                self.line(depth, &line);
            }
        }
        // A graph with a cycle is printed too: that is when people look at it.
        let as_added = |_| graph.nodes().map(|(id, _)| id).collect();
        let order: Vec<NodeId> = graph.order().unwrap_or_else(as_added);
        for id in order {
            self.node(graph, graph.node(id), depth);
        }
        for &id in &graph.outputs {
            let value = graph.value(id);
            let is_made = matches!(value.source, Source::Node { .. });
            let fact = if is_made {
                fact(&value.fact)
            } else {
                "?".to_owned()
            };
            let fact = if fact == "?" {
                String::new()
            } else {
                format!(": {fact}")
            };
            self.line(depth, &format!("output {}{fact}", quoted(&value.name)));
        }
    }

    fn node(&mut self, graph: &Graph, node: &Node, depth: usize) {
        let name = |id: &Option<ValueId>| match id {
            Some(id) => quoted(&graph.value(*id).name),
            None => "_".to_owned(),
        };
        let output = |id: &Option<ValueId>| {
            let name = name(id);
            let Some(id) = id else { return name };
            let fact = fact(&graph.value(*id).fact);
            let is_told = fact != "?" && !graph.outputs.contains(id);
            if is_told {
                format!("{name}: {fact}")
            } else {
                name
            }
        };
        let outputs: Vec<String> = node.outputs.iter().map(output).collect();
        let inputs: Vec<String> = node.inputs.iter().map(name).collect();
        let mut line = outputs.join(", ") + " = ";
        if !node.op.domain.is_empty() {
            line += &(quoted(&node.op.domain) + "::");
        }
        line += &format!("{}({})", quoted(&node.op.name), inputs.join(", "));
        if !node.attrs.is_empty() {
            let attrs = node.attrs.iter();
            let attrs = attrs.map(|(name, attr)| format!("{} = {}", quoted(name), self.attr(attr)));
            line += &format!(" {{{}}}", attrs.collect::<Vec<String>>().join(", "));
        }
        if !node.name.is_empty() {
            line += &format!(" @{}", quoted(&node.name));
        }
        for (name, body) in &node.bodies {
            line += &format!(" {} {{", quoted(name));
            self.line(depth, &line);
            self.graph(body, depth + 1);
            line = "}".to_owned();
        }
        self.line(depth, &line);
    }

    fn elements(&self, tensor: &Tensor) -> String {
        if self.is_short && tensor.len() > MAX_SHORT {
            "...".to_owned()
        } else {
            data::print(tensor)
        }
    }

    fn attr(&self, attr: &Attr) -> String {
        fn list<T>(empty: &str, items: &[T], print: impl Fn(&T) -> String) -> String {
            let texts: Vec<String> = items.iter().map(print).collect();
            format!(
                "{}[{}]",
                if items.is_empty() { empty } else { "" },
                texts.join(", ")
            )
        }
        match attr {
            Attr::Float(x) => data::float(*x),
            Attr::Int(x) => x.to_string(),
            Attr::Str(bytes) => string(bytes),
            Attr::Tensor(tensor) => format!("{} {}", kind(tensor), self.elements(tensor)),
            // Other empty lists would read as integers.
            Attr::Floats(items) => list("floats ", items, |x| data::float(*x)),
            Attr::Ints(items) => list("", items, i64::to_string),
            Attr::Strs(items) => list("strs ", items, |bytes| string(bytes)),
            Attr::Type(value) => fact(value),
        }
    }
}

/// Text in quotes, or hex for bytes that are no text.
fn string(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => data::hex(bytes),
    }
}

fn kind(tensor: &Tensor) -> String {
    format!("{}{}", tensor.dtype(), tensor.shape())
}

/// `f32[2, n]`, `seq(f32)`, `?`.
fn fact(fact: &Fact) -> String {
    let mut text = fact
        .dtype
        .map_or_else(|| "?".to_owned(), |dtype| dtype.to_string());
    if let Some(shape) = &fact.shape {
        text += &shape.to_string();
    }
    match fact.kind {
        Kind::Tensor => text,
        Kind::Sequence => format!("seq({text})"),
        Kind::Optional => format!("opt({text})"),
        Kind::OptionalSequence => format!("opt(seq({text}))"),
        Kind::Other => "other".to_owned(),
    }
}
