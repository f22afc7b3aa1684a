//! Formulas to look for, as text: `Mul(x, Sigmoid(x))`.
//!
//! An operator's name with its inputs in brackets is a node; `n@Conv(..)` gives it a name. A word
//! stands for a value, everywhere for the same one (or for equal constants), with `?` for one that
//! may be left out. A number is a constant of one element near it. `[a | b]` is either. Operands of
//! commutative operators may be in any order.

use crate::graph::{Graph, Node, NodeId, Source, ValueId};
use crate::passes::Skip;
use crate::passes::build::Build;
use crate::tensor::Tensor;

/// Models write constants such as the square root of two with four digits and more.
const TOLERANCE: f64 = 1e-4;

const COMMUTATIVE: &[&str] = &["Add", "Max", "Min", "Mul"];

#[derive(Debug)]
enum Pattern<'p> {
    Number(f64),
    Value { name: &'p str, optional: bool },
    Node(Shape<'p>),
    OneOf(Vec<Pattern<'p>>),
}

#[derive(Debug)]
struct Shape<'p> {
    label: Option<&'p str>,
    op: &'p str,
    inputs: Vec<Pattern<'p>>,
}

/// What stands where in a formula that was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found<'p> {
    values: Vec<(&'p str, Option<ValueId>)>,
    nodes: Vec<(&'p str, NodeId)>,
    inside: Vec<NodeId>,
}

impl Found<'_> {
    /// The value that a word of the pattern stands for.
    pub(super) fn value(&self, name: &str) -> ValueId {
        self.optional(name)
            .unwrap_or_else(|| panic!("{name} is not in the pattern or was left out"))
    }

    pub(super) fn optional(&self, name: &str) -> Option<ValueId> {
        let (_, value) = self.values.iter().find(|(known, _)| *known == name)?;
        *value
    }

    fn node(&self, name: &str) -> Option<NodeId> {
        let (_, node) = self.nodes.iter().find(|(known, _)| *known == name)?;
        Some(*node)
    }
}

impl<'g> Build<'g> {
    /// Finds a formula that ends at this node and whose values between nothing else reads.
    pub(super) fn find<'p>(&self, text: &'p str) -> Result<Found<'p>, Skip> {
        // Most nodes are none that a pattern is about: these need no parsing.
        let ends_here = text
            .split('(')
            .next()
            .and_then(|head| head.split('@').next_back());
        if ends_here != Some(&*self.node.op.to_string()) {
            return Err(Skip::NoMatch);
        }
        let Pattern::Node(shape) = parse(text) else {
            panic!("{text} is no formula");
        };
        let root = self.node.output(0).ok_or(Skip::NoMatch)?;
        let Source::Node { node: root, .. } = self.graph.value(root).source else {
            unreachable!("a node makes its outputs");
        };
        let mut refusal = Skip::NoMatch;
        for found in matches_node(self.graph, &shape, root, &Found::default()) {
            if is_closed(self.graph, root, &found.inside) {
                return Ok(found);
            }
            refusal = Skip::Refused("a value between is read elsewhere");
        }
        Err(refusal)
    }

    /// The first of several formulas that is found, with what stands beside it.
    pub(super) fn find_any<'p, T>(
        &self,
        table: &'p [(&'p str, T)],
    ) -> Result<(Found<'p>, &'p T), Skip> {
        let mut found = table
            .iter()
            .map(|(text, with)| Ok((self.find(text)?, with)));
        let mut refusal = Skip::NoMatch;
        found
            .find_map(|found| found.map_err(|skip| refusal = skip).ok())
            .ok_or(refusal)
    }

    /// The node that the pattern gives this name.
    pub(super) fn found(&self, found: &Found, name: &str) -> &'g Node {
        let named = self.found_if(found, name);
        named.unwrap_or_else(|| panic!("{name} is not in the pattern"))
    }

    /// The same where only some alternatives of the pattern give it.
    pub(super) fn found_if(&self, found: &Found, name: &str) -> Option<&'g Node> {
        Some(self.graph.node(found.node(name)?))
    }

    /// The node of this operator that makes a value as its first output.
    pub(super) fn maker(&self, value: ValueId, op: &str) -> Result<&'g Node, Skip> {
        match self.graph.value(value).source {
            Source::Node {
                node,
                output_idx: 0,
            } if self.graph.node(node).op.is(op) => Ok(self.graph.node(node)),
            _ => Err(Skip::NoMatch),
        }
    }

    /// The node that makes a value which nothing but this node reads.
    pub(super) fn maker_of_all(&self, value: ValueId) -> Result<&'g Node, Skip> {
        let Source::Node { node, .. } = self.graph.value(value).source else {
            return Err(Skip::NoMatch);
        };
        let root = self
            .node
            .output(0)
            .map(|root| &self.graph.value(root).source);
        let Some(Source::Node { node: root, .. }) = root else {
            return Err(Skip::NoMatch);
        };
        if is_closed(self.graph, *root, &[node, *root]) {
            Ok(self.graph.node(node))
        } else {
            Err(Skip::Refused("a value between is read elsewhere"))
        }
    }

    /// The node that makes a value which nothing but this node reads, once.
    pub(super) fn sole_maker(&self, value: ValueId) -> Result<&'g Node, Skip> {
        let Source::Node {
            node,
            output_idx: 0,
        } = self.graph.value(value).source
        else {
            return Err(Skip::NoMatch);
        };
        let nodes = self.graph.nodes().flat_map(|(_, node)| &node.inputs);
        let n_reads = nodes.filter(|&&input| input == Some(value)).count();
        let node = self.graph.node(node);
        if n_reads > 1 || self.graph.is_pinned(value) || node.outputs.len() > 1 {
            return Err(Skip::Refused("a value between is read elsewhere"));
        }
        Ok(node)
    }

    /// The number in a constant of one element that does not raise the rank of what it meets.
    pub(super) fn number(&self, value: ValueId) -> Option<f64> {
        number(self.graph.constant(value)?)
    }

    /// The facts of two values say that they have one shape.
    pub(super) fn same_shape(&self, a: ValueId, b: ValueId) -> bool {
        let (a, b) = (self.fact(a).shape, self.fact(b).shape);
        let known = |dim: &crate::tensor::Dim| *dim != crate::tensor::Dim::Unknown;
        a.is_some() && a == b && a.iter().flat_map(|shape| shape.iter()).all(known)
    }

    /// Refuses formulas whose constants give the result a higher rank than `x` has.
    pub(super) fn expect_rank_of(&self, x: ValueId) -> Result<(), Skip> {
        let output = self.node.output(0).ok_or(Skip::NoMatch)?;
        if self.rank(x)? == self.rank(output)? {
            Ok(())
        } else {
            Err(Skip::Refused("a constant changes the rank"))
        }
    }
}

fn number(tensor: &Tensor) -> Option<f64> {
    if tensor.len() != 1 {
        return None;
    }
    let integers = || Some(tensor.to_i64s()?.iter().map(|&n| n as f64).collect());
    let elements: Vec<f64> = tensor.to_f64s().or_else(integers)?;
    elements.first().copied()
}

/// Every way in which the formula of a pattern ends at a node.
fn matches_node<'p>(
    graph: &Graph,
    shape: &Shape<'p>,
    id: NodeId,
    found: &Found<'p>,
) -> Vec<Found<'p>> {
    let node = graph.node(id);
    if node.op.to_string() != shape.op || node.inputs.len() > shape.inputs.len() {
        return Vec::new();
    }
    let mut start = found.clone();
    start.inside.push(id);
    if let Some(label) = shape.label {
        start.nodes.push((label, id));
    }
    let in_order = |order: &[usize]| {
        let mut ways = vec![start.clone()];
        for (&idx, pattern) in order.iter().zip(&shape.inputs) {
            let step = |found| matches_value(graph, pattern, node.input(idx), found);
            ways = ways.iter().flat_map(step).collect();
        }
        ways
    };
    let order: Vec<usize> = (0..shape.inputs.len()).collect();
    let mut ways = in_order(&order);
    if COMMUTATIVE.contains(&shape.op) && shape.inputs.len() == 2 {
        ways.extend(in_order(&[1, 0]));
    }
    ways
}

fn matches_value<'p>(
    graph: &Graph,
    pattern: &Pattern<'p>,
    value: Option<ValueId>,
    found: &Found<'p>,
) -> Vec<Found<'p>> {
    match (pattern, value) {
        (Pattern::OneOf(patterns), _) => patterns
            .iter()
            .flat_map(|pattern| matches_value(graph, pattern, value, found))
            .collect(),
        (Pattern::Value { name, optional }, _) => {
            let known = found.values.iter().find(|(known, _)| known == name);
            let fits = match known {
                Some(&(_, known)) => is_same(graph, known, value),
                None => *optional || value.is_some(),
            };
            let mut found = found.clone();
            found.values.push((name, value));
            if fits { vec![found] } else { Vec::new() }
        }
        (Pattern::Number(expected), Some(value)) => {
            let near = |number: f64| (number - expected).abs() <= TOLERANCE * expected.abs();
            let is_near = graph.constant(value).and_then(number).is_some_and(near);
            if is_near {
                vec![found.clone()]
            } else {
                Vec::new()
            }
        }
        (Pattern::Node(shape), Some(value)) => match graph.value(value).source {
            Source::Node {
                node,
                output_idx: 0,
            } => matches_node(graph, shape, node, found),
            _ => Vec::new(),
        },
        (_, None) => Vec::new(),
    }
}

fn is_same(graph: &Graph, a: Option<ValueId>, b: Option<ValueId>) -> bool {
    let constant = |value: Option<ValueId>| graph.constant(value?);
    a == b || constant(a).is_some() && constant(a) == constant(b)
}

/// True when what nodes inside of a formula make is read inside only.
fn is_closed(graph: &Graph, root: NodeId, inside: &[NodeId]) -> bool {
    let between = inside.iter().filter(|&&id| id != root);
    let mut between = between.flat_map(|&id| graph.node(id).outputs.iter().flatten());
    between.all(|&value| {
        let mut readers = graph
            .nodes()
            .filter(|(_, node)| node.inputs.contains(&Some(value)));
        !graph.is_pinned(value) && readers.all(|(id, _)| inside.contains(&id))
    })
}

/// Patterns are our own: a wrong one is a bug.
fn parse(text: &str) -> Pattern<'_> {
    let mut rest = text;
    let pattern = parse_one(&mut rest);
    assert!(rest.is_empty(), "{rest} is left of the pattern {text}");
    pattern
}

fn parse_one<'p>(rest: &mut &'p str) -> Pattern<'p> {
    if skip(rest, "[") {
        let mut patterns = vec![parse_one(rest)];
        while skip(rest, "|") {
            patterns.push(parse_one(rest));
        }
        assert!(skip(rest, "]"), "expected ] at {rest}");
        return Pattern::OneOf(patterns);
    }
    let mut name = word(rest);
    if let Ok(number) = name.parse() {
        return Pattern::Number(number);
    }
    let mut label = None;
    if skip(rest, "@") {
        label = Some(name);
        name = word(rest);
    }
    if !skip(rest, "(") {
        let optional = skip(rest, "?");
        return Pattern::Value { name, optional };
    }
    let mut inputs = vec![parse_one(rest)];
    while skip(rest, ",") {
        inputs.push(parse_one(rest));
    }
    assert!(skip(rest, ")"), "expected ) at {rest}");
    Pattern::Node(Shape {
        label,
        op: name,
        inputs,
    })
}

fn word<'p>(rest: &mut &'p str) -> &'p str {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    let end = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    assert!(!word.is_empty(), "expected a name at {rest}");
    *rest = after;
    word
}

fn skip(rest: &mut &str, token: &str) -> bool {
    let after = rest.trim_start().strip_prefix(token);
    *rest = after.map_or(*rest, str::trim_start);
    after.is_some()
}
