//! Text to a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cursor::Cursor;
use super::data;
use crate::error::Result;
use crate::graph::{Graph, Node, Source, ValueId, verify};
use crate::ops::{Attr, OpName};
use crate::tensor::{DType, Dim, Fact, Kind, Shape, Tensor};

/// The version of ONNX's operators where a text gives none.
const DEFAULT_OPSET: i64 = 21;

/// Bodies in bodies, and dimensions in dimensions.
const MAX_DEPTH: usize = 32;

/// Reads a graph and verifies it.
///
/// # Errors
/// `MODEL_PARSE` with `line:column`, or naming the node or value that does not fit the rest.
pub fn parse(text: &str) -> Result<Graph> {
    let mut parser = Parser {
        cursor: Cursor::new(text),
        opsets: BTreeMap::new(),
        depth: 0,
    };
    let mut graph = parser.graph()?;
    if parser.cursor.peek().is_some() {
        return Err(parser.cursor.error("a body ends that has not begun"));
    }
    let mut opsets = parser.opsets;
    let mut domains = BTreeSet::new();
    collect_domains(&graph, &mut domains);
    if opsets.is_empty() {
        domains.insert("".into());
    }
    for domain in domains {
        let version = if domain.is_empty() { DEFAULT_OPSET } else { 1 };
        opsets.entry(domain).or_insert(version);
    }
    set_opsets(&mut graph, &opsets);
    verify(&graph)?;
    Ok(graph)
}

fn collect_domains(graph: &Graph, domains: &mut BTreeSet<Arc<str>>) {
    for (_, node) in graph.nodes() {
        domains.insert(node.op.domain.clone());
        node.bodies
            .values()
            .for_each(|body| collect_domains(body, domains));
    }
}

fn set_opsets(graph: &mut Graph, opsets: &BTreeMap<Arc<str>, i64>) {
    graph.opsets = opsets.clone();
    for node in graph.nodes.iter_mut().flatten() {
        node.bodies
            .values_mut()
            .for_each(|body| set_opsets(body, opsets));
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    opsets: BTreeMap<Arc<str>, i64>,
    depth: usize,
}

impl Parser<'_> {
    /// Statements up to the end of the text, or of the body.
    fn graph(&mut self) -> Result<Graph> {
        let mut graph = Graph::default();
        loop {
            self.cursor.skip_lines();
            if matches!(self.cursor.peek(), None | Some('}')) {
                break;
            }
            self.statement(&mut graph)?;
            self.cursor.skip_blanks();
            if !matches!(self.cursor.peek(), None | Some('}' | '\n')) {
                let rest: String = self.cursor.rest().chars().take(20).collect();
                return Err(self
                    .cursor
                    .error(format!("the statement should end before {rest:?}")));
            }
        }
        if self.depth > 0 {
            // What a body reads and does not make comes from around it.
            for value in &mut graph.values {
                if matches!(value.source, Source::Nothing) {
                    value.source = Source::Capture;
                }
            }
        }
        Ok(graph)
    }

    fn statement(&mut self, graph: &mut Graph) -> Result<()> {
        let word = self.cursor.peek_word();
        let after = self.cursor.rest()[word.len()..].trim_start_matches([' ', '\t']);
        // A value may have the name of a statement.
        if after.starts_with(['=', ',', ':']) {
            return self.node(graph);
        }
        match word {
            "opset" => self.opset(),
            "input" => self.input(graph),
            "const" => self.constant(graph),
            "value" => self.declaration(graph, "value").map(|_| ()),
            "output" => {
                let id = self.declaration(graph, "output")?;
                graph.outputs.push(id);
                Ok(())
            }
            _ => self.node(graph),
        }
    }

    fn keyword(&mut self, word: &str) -> Result<()> {
        self.cursor.expect(word)?;
        self.cursor.skip_blanks();
        Ok(())
    }

    /// Takes a token with blanks around it.
    fn take(&mut self, token: &str) -> bool {
        self.cursor.skip_blanks();
        let taken = self.cursor.take(token);
        if taken {
            self.cursor.skip_blanks();
        }
        taken
    }

    fn opset(&mut self) -> Result<()> {
        self.keyword("opset")?;
        if self.depth > 0 {
            return Err(self
                .cursor
                .error("a body has the versions of the graph around it"));
        }
        let is_number = self.cursor.peek().is_some_and(|c| c.is_ascii_digit());
        let domain = if is_number {
            String::new()
        } else {
            self.cursor.name()?
        };
        self.cursor.skip_blanks();
        let text = self.cursor.number()?;
        let version = text.parse().ok().filter(|&version: &i64| version > 0);
        let version = version.ok_or_else(|| self.cursor.error(format!("{text} is no version")))?;
        let domain = if domain == "ai.onnx" { "" } else { &domain };
        if self.opsets.insert(domain.into(), version).is_some() {
            return Err(self.cursor.error("the domain has a version already"));
        }
        Ok(())
    }

    /// The value of that name, new if it has not been mentioned.
    fn value(&self, graph: &mut Graph, name: &str) -> Result<ValueId> {
        if name.is_empty() {
            return Err(self.cursor.error("a value has no name"));
        }
        match graph.find(name) {
            Some(id) => Ok(id),
            None => graph.add_value(name, Fact::default(), Source::Nothing),
        }
    }

    /// The value that a statement defines.
    fn define(&mut self, graph: &mut Graph, fact: Fact, id: ValueId, source: Source) -> Result<()> {
        if !matches!(graph.value(id).source, Source::Nothing) {
            let why = format!("{:?} has been defined", graph.value(id).name);
            return Err(self.cursor.error(why));
        }
        let value = graph.value_mut(id);
        value.fact = fact;
        value.source = source;
        Ok(())
    }

    fn input(&mut self, graph: &mut Graph) -> Result<()> {
        self.keyword("input")?;
        let name = self.cursor.name()?;
        self.colon()?;
        let fact = self.fact()?;
        let default = if self.take("=") {
            Some(self.elements(&fact)?)
        } else {
            None
        };
        let id = self.value(graph, &name)?;
        self.define(graph, fact, id, Source::Input { default })?;
        graph.inputs.push(id);
        Ok(())
    }

    fn constant(&mut self, graph: &mut Graph) -> Result<()> {
        self.keyword("const")?;
        let name = self.cursor.name()?;
        self.colon()?;
        let fact = self.fact()?;
        self.cursor.skip_blanks();
        self.cursor.expect("=")?;
        self.cursor.skip_blanks();
        let tensor = self.elements(&fact)?;
        let id = self.value(graph, &name)?;
        self.define(graph, Fact::of(&tensor), id, Source::Constant(tensor))
    }

    fn colon(&mut self) -> Result<()> {
        self.cursor.skip_blanks();
        self.cursor.expect(":")?;
        self.cursor.skip_blanks();
        Ok(())
    }

    /// `value t: f32[2]` or `output t`.
    fn declaration(&mut self, graph: &mut Graph, keyword: &str) -> Result<ValueId> {
        self.keyword(keyword)?;
        let name = self.cursor.name()?;
        let id = self.value(graph, &name)?;
        self.told_fact(graph, id)?;
        Ok(id)
    }

    /// The fact after a value's name, if there is one.
    fn told_fact(&mut self, graph: &mut Graph, id: ValueId) -> Result<()> {
        if !self.take(":") {
            return Ok(());
        }
        let told = self.fact()?;
        let value = graph.value_mut(id);
        let known = Fact {
            value: None,
            ..value.fact.clone()
        };
        if known == Fact::default() {
            value.fact = told;
        } else if known != told {
            let why = format!("{:?} is declared in two ways", value.name);
            return Err(self.cursor.error(why));
        }
        Ok(())
    }

    fn node(&mut self, graph: &mut Graph) -> Result<()> {
        let mut outputs = Vec::new();
        loop {
            let output = self.optional_value(graph)?;
            if let Some(id) = output {
                self.told_fact(graph, id)?;
            }
            outputs.push(output);
            if !self.take(",") {
                break;
            }
        }
        self.cursor.skip_blanks();
        self.cursor.expect("=")?;
        self.cursor.skip_blanks();
        let mut name = self.cursor.name()?;
        let mut domain = String::new();
        if self.cursor.take("::") {
            domain = std::mem::replace(&mut name, self.cursor.name()?);
        }
        self.cursor.skip_blanks();
        let mut inputs = Vec::new();
        for name in self.cursor.list("(", ")", optional_name)? {
            inputs.push(name.map(|name| self.value(graph, &name)).transpose()?);
        }
        let mut node = Node::new(OpName::new(&domain, &name), inputs, outputs);
        self.cursor.skip_blanks();
        if self.cursor.peek() == Some('{') {
            self.attrs(&mut node)?;
        }
        loop {
            self.cursor.skip_blanks();
            if self.cursor.take("@") {
                node.name = self.cursor.name()?.into();
            } else if matches!(self.cursor.peek(), None | Some('}' | '\n')) {
                break;
            } else {
                self.body(&mut node)?;
            }
        }
        // What a body inside a body captures passes through the one in between.
        for name in node.bodies.values().flat_map(Graph::captured_names) {
            self.value(graph, name)?;
        }
        let place = self.cursor.error("");
        graph
            .add_node(node)
            .map_err(|error| error.within(place.at))?;
        Ok(())
    }

    fn optional_value(&mut self, graph: &mut Graph) -> Result<Option<ValueId>> {
        let name = optional_name(&mut self.cursor)?;
        name.map(|name| self.value(graph, &name)).transpose()
    }

    fn body(&mut self, node: &mut Node) -> Result<()> {
        let name = self.cursor.name()?;
        self.cursor.skip_blanks();
        self.cursor.expect("{")?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self
                .cursor
                .error(format!("bodies nest deeper than {MAX_DEPTH}")));
        }
        let body = self.graph()?;
        self.depth -= 1;
        self.cursor.expect("}")?;
        if node.bodies.insert(name.into(), body).is_some() {
            return Err(self.cursor.error("two bodies have this name"));
        }
        Ok(())
    }

    fn attrs(&mut self, node: &mut Node) -> Result<()> {
        let attrs = self.cursor.list("{", "}", |cursor| {
            let name = cursor.name()?;
            cursor.skip_blanks();
            cursor.expect("=")?;
            cursor.skip_blanks();
            Ok((name, attr(cursor)?))
        })?;
        for (name, attr) in attrs {
            if node.attrs.get(&name).is_some() {
                return Err(self
                    .cursor
                    .error(format!("attribute {name} is given twice")));
            }
            node.attrs.set(&name, attr);
        }
        Ok(())
    }

    fn fact(&mut self) -> Result<Fact> {
        fact(&mut self.cursor)
    }

    fn elements(&mut self, fact: &Fact) -> Result<Tensor> {
        elements(&mut self.cursor, fact)
    }
}

/// A name, or `None` for `_`.
fn optional_name(cursor: &mut Cursor) -> Result<Option<String>> {
    let is_quoted = cursor.peek() == Some('"');
    let name = cursor.name()?;
    Ok(if name == "_" && !is_quoted {
        None
    } else {
        Some(name)
    })
}

fn elements(cursor: &mut Cursor, fact: &Fact) -> Result<Tensor> {
    let sizes = fact.sizes().filter(|_| fact.kind == Kind::Tensor);
    let (Some(dtype), Some(sizes)) = (fact.dtype, sizes) else {
        return Err(cursor.error("elements need a type and a shape of numbers"));
    };
    if cursor.rest().starts_with("...") {
        return Err(cursor.error("the elements have been left out"));
    }
    data::parse(cursor, dtype, &sizes)
}

/// `f32[2, n]`, `f32`, `?`, `seq(f32)`, `opt(seq(f32))`, `other`.
fn fact(cursor: &mut Cursor) -> Result<Fact> {
    if cursor.take("other") {
        return Ok(Fact {
            kind: Kind::Other,
            ..Fact::default()
        });
    }
    for (word, kinds) in [
        ("seq(", &[(Kind::Tensor, Kind::Sequence)][..]),
        (
            "opt(",
            &[
                (Kind::Tensor, Kind::Optional),
                (Kind::Sequence, Kind::OptionalSequence),
            ],
        ),
    ] {
        if !cursor.take(word) {
            continue;
        }
        // Deeper nesting has no kind, so the recursion ends after two steps of three.
        if cursor.rest().starts_with("opt(")
            || (word == "seq(" && cursor.rest().starts_with("seq("))
        {
            return Err(cursor.error("types nest no deeper than an optional sequence"));
        }
        let mut inner = fact(cursor)?;
        cursor.expect(")")?;
        let kind = kinds.iter().find(|(from, _)| *from == inner.kind);
        let kind = kind.ok_or_else(|| cursor.error("there is no such type"))?;
        inner.kind = kind.1;
        return Ok(inner);
    }
    let mut fact = Fact::default();
    if !cursor.take("?") {
        let name = cursor.symbol()?;
        let dtype = DType::from_name(&name);
        fact.dtype = Some(dtype.ok_or_else(|| cursor.error(format!("{name} is no type")))?);
    }
    if cursor.peek() == Some('[') {
        let dims = cursor.list("[", "]", |cursor| {
            let dim = dim(cursor, 0)?;
            match dim.value() {
                Some(size) if size < 0 => Err(cursor.error(format!("a size cannot be {size}"))),
                _ => Ok(dim),
            }
        })?;
        fact.shape = Some(Shape(dims));
    }
    Ok(fact)
}

/// A dimension as [`Dim`] prints it.
fn dim(cursor: &mut Cursor, depth: usize) -> Result<Dim> {
    if depth > MAX_DEPTH {
        return Err(cursor.error(format!("dimensions nest deeper than {MAX_DEPTH}")));
    }
    if cursor.take("?") {
        return Ok(Dim::Unknown);
    }
    if cursor.take("(") {
        let left = dim(cursor, depth + 1)?;
        cursor.skip_blanks();
        let operator = ["+", "-", "*", "/"]
            .into_iter()
            .find(|sign| cursor.take(sign));
        let operator = operator.ok_or_else(|| cursor.error("one of + - * / is expected"))?;
        cursor.skip_blanks();
        let right = dim(cursor, depth + 1)?;
        cursor.skip_blanks();
        cursor.expect(")")?;
        return Ok(match operator {
            "+" => &left + &right,
            "-" => &left - &right,
            "*" => &left * &right,
            _ => left.floor_div(&right),
        });
    }
    if cursor
        .peek()
        .is_some_and(|c| c.is_ascii_digit() || c == '-')
    {
        let text = cursor.number()?;
        let size = text
            .parse()
            .map_err(|_| cursor.error(format!("{text} is no size")))?;
        return Ok(Dim::Size(size));
    }
    let is_quoted = cursor.peek() == Some('"');
    let name = cursor.symbol()?;
    if !is_quoted && matches!(&*name, "max" | "min") && cursor.take("(") {
        let left = dim(cursor, depth + 1)?;
        cursor.expect(",")?;
        cursor.skip_blanks();
        let right = dim(cursor, depth + 1)?;
        cursor.expect(")")?;
        return Ok(if name == "max" {
            left.max(&right)
        } else {
            left.min(&right)
        });
    }
    Ok(Dim::symbol(&name))
}

fn attr(cursor: &mut Cursor) -> Result<Attr> {
    let word = cursor.peek_word();
    match cursor.peek() {
        Some('"') => Ok(Attr::Str(cursor.string()?.into_bytes())),
        Some('[') => list_attr(cursor),
        Some('0') if cursor.rest().starts_with("0x") => Ok(Attr::Str(cursor.hex()?)),
        Some(_) if word == "floats" || word == "strs" => {
            cursor.take(word);
            cursor.skip_blanks();
            cursor.list("[", "]", |cursor| {
                Err::<(), _>(cursor.error("the list should be empty"))
            })?;
            Ok(if word == "floats" {
                Attr::Floats(Vec::new())
            } else {
                Attr::Strs(Vec::new())
            })
        }
        Some(c) if c == '-' || c.is_ascii_digit() || word == "inf" || word == "nan" => {
            let text = cursor.number()?;
            number(cursor, text)
        }
        _ => {
            let fact = fact(cursor)?;
            cursor.skip_blanks();
            if cursor.peek() == Some('[') || cursor.rest().starts_with("0x") {
                return Ok(Attr::Tensor(elements(cursor, &fact)?));
            }
            if cursor.rest().starts_with("...") {
                return Err(cursor.error("the elements have been left out"));
            }
            Ok(Attr::Type(fact))
        }
    }
}

/// An integer, or a float if it has a point, an exponent or a name.
fn number(cursor: &Cursor, text: &str) -> Result<Attr> {
    let is_float = text.contains(['.', 'e', 'E', 'n']);
    let parsed = if is_float {
        text.parse().ok().map(Attr::Float)
    } else {
        text.parse().ok().map(Attr::Int)
    };
    parsed.ok_or_else(|| cursor.error(format!("{text} is no number")))
}

fn list_attr(cursor: &mut Cursor) -> Result<Attr> {
    let items = cursor.list("[", "]", |cursor| match cursor.peek() {
        Some('"') => Ok(Attr::Str(cursor.string()?.into_bytes())),
        Some('0') if cursor.rest().starts_with("0x") => Ok(Attr::Str(cursor.hex()?)),
        _ => {
            let text = cursor.number()?;
            number(cursor, text)
        }
    })?;
    let mut list = match items.first() {
        None | Some(Attr::Int(_)) => Attr::Ints(Vec::with_capacity(items.len())),
        Some(Attr::Float(_)) => Attr::Floats(Vec::with_capacity(items.len())),
        Some(_) => Attr::Strs(Vec::with_capacity(items.len())),
    };
    for item in items {
        match (&mut list, item) {
            (Attr::Ints(list), Attr::Int(x)) => list.push(x),
            (Attr::Floats(list), Attr::Float(x)) => list.push(x),
            (Attr::Strs(list), Attr::Str(x)) => list.push(x),
            _ => return Err(cursor.error("the items of a list have one type: 1 or 1.0 or \"a\"")),
        }
    }
    Ok(list)
}
