//! The engine's own form of a model: nodes and values by typed id, with what is known of each.
//!
//! A graph is a list of nodes in any order; [`Graph::order`] sorts them. Values name the edges:
//! each is an input, a constant, the output of one node, or (in the body of an `If` or a `Loop`)
//! captured by name from the graph around it.

mod infer;
mod inline;
mod patch;
pub mod text;
mod verify;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ops::{Attr, Attrs, OpName};
use crate::tensor::{Fact, Tensor};

pub(crate) use infer::infer_node;
pub use infer::{infer, specialize};
pub use patch::Patch;
pub use verify::verify;

macro_rules! id {
    ($(#[$doc:meta] $name:ident)*) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $name {
            pub(crate) fn new(idx: usize) -> $name {
                $name(u32::try_from(idx).expect("readers bound a graph far below 2^32 entries"))
            }

            pub fn idx(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}
id! {
    /// A node of one graph.
    NodeId
    /// A value of one graph.
    ValueId
}

#[derive(Clone, Debug)]
pub struct Value {
    /// Unique in its graph.
    pub name: Arc<str>,
    pub fact: Fact,
    pub source: Source,
}

#[derive(Clone, Debug)]
pub enum Source {
    /// A graph input; `default` is the initializer that stands in when the caller gives nothing.
    Input {
        default: Option<Tensor>,
    },
    Constant(Tensor),
    /// Output `output_idx` of a node.
    Node {
        node: NodeId,
        output_idx: usize,
    },
    /// Bound by name in the graph around this one.
    Capture,
    /// Nothing makes it: an error unless nothing reads it.
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Node {
    /// May be empty, and need not be unique.
    pub name: Arc<str>,
    pub op: OpName,
    /// `None` where an optional input is left out.
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<Option<ValueId>>,
    pub attrs: Attrs,
    /// The graphs inside control-flow nodes, by attribute name: `then_branch`, `body`.
    pub bodies: BTreeMap<Arc<str>, Graph>,
}

impl Node {
    pub fn input(&self, idx: usize) -> Option<ValueId> {
        self.inputs.get(idx).copied().flatten()
    }

    pub fn output(&self, idx: usize) -> Option<ValueId> {
        self.outputs.get(idx).copied().flatten()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub name: String,
    /// Version by domain; the default domain is `""`. Bodies have their outer graph's.
    pub opsets: BTreeMap<Arc<str>, i64>,
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
    nodes: Vec<Option<Node>>,
    values: Vec<Value>,
    by_name: HashMap<Arc<str>, ValueId>,
}

impl Graph {
    /// An empty graph of one version of ONNX's own operators.
    pub fn with_opset(version: i64) -> Graph {
        Graph {
            opsets: BTreeMap::from([("".into(), version)]),
            ..Graph::default()
        }
    }

    /// The version of a domain's operators; 1 when the model does not say.
    pub fn opset(&self, domain: &str) -> i64 {
        self.opsets.get(domain).copied().unwrap_or(1)
    }

    /// # Errors
    /// `MODEL_PARSE` when a value of that name exists.
    pub fn add_value(&mut self, name: &str, fact: Fact, source: Source) -> Result<ValueId> {
        let id = ValueId::new(self.values.len());
        let name: Arc<str> = name.into();
        match self.by_name.entry(name.clone()) {
            Entry::Occupied(_) => return Err(Error::parse(&*name, "two values have this name")),
            Entry::Vacant(entry) => entry.insert(id),
        };
        self.values.push(Value { name, fact, source });
        Ok(id)
    }

    pub fn add_input(&mut self, name: &str, fact: Fact) -> Result<ValueId> {
        let id = self.add_value(name, fact, Source::Input { default: None })?;
        self.inputs.push(id);
        Ok(id)
    }

    pub fn add_constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId> {
        self.add_value(name, Fact::of(&tensor), Source::Constant(tensor))
    }

    /// Adds a node and makes its outputs come from it.
    ///
    /// # Errors
    /// `MODEL_PARSE` when one of the outputs already has a source.
    pub fn add_node(&mut self, node: Node) -> Result<NodeId> {
        let id = NodeId::new(self.nodes.len());
        for (output_idx, value) in node.outputs.iter().enumerate() {
            let Some(value) = *value else { continue };
            let value = &mut self.values[value.idx()];
            if !matches!(value.source, Source::Nothing) {
                let why = format!("output {} has more than one source", value.name);
                return Err(Error::parse(node.label(), why));
            }
            value.source = Source::Node {
                node: id,
                output_idx,
            };
        }
        self.nodes.push(Some(node));
        Ok(id)
    }

    /// Takes a node out; its outputs then come from nothing.
    pub fn remove_node(&mut self, id: NodeId) -> Node {
        let node = self.nodes[id.idx()]
            .take()
            .expect("the node is still in the graph");
        for value in node.outputs.iter().flatten() {
            self.values[value.idx()].source = Source::Nothing;
        }
        node
    }

    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.idx()]
            .as_ref()
            .expect("the node is still in the graph")
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.idx()]
            .as_mut()
            .expect("the node is still in the graph")
    }

    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        let numbered = self.nodes.iter().enumerate();
        numbered.filter_map(|(idx, node)| Some((NodeId::new(idx), node.as_ref()?)))
    }

    pub fn node_count(&self) -> usize {
        self.nodes.iter().flatten().count()
    }

    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.idx()]
    }

    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.idx()]
    }

    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values
            .iter()
            .enumerate()
            .map(|(idx, value)| (ValueId::new(idx), value))
    }

    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// A name that no value has, made from `stem`.
    pub fn fresh_name(&self, stem: &str) -> String {
        let taken = |name: &str| self.by_name.contains_key(name);
        (0..)
            .map(|n| format!("{stem}_{n}"))
            .find(|name| !taken(name))
            .expect("there are more numbers than values")
    }

    /// The tensor of a constant whose elements are here.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.weight(id).filter(|tensor| !tensor.is_forgotten())
    }

    /// The tensor of a constant, even where only a device still has its elements.
    pub fn weight(&self, id: ValueId) -> Option<&Tensor> {
        match &self.value(id).source {
            Source::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Forgets the elements of the constants that `is_elsewhere` says of, by name and tensor.
    pub fn forget(&mut self, is_elsewhere: &dyn Fn(&str, &Tensor) -> bool) {
        for value in &mut self.values {
            if let Source::Constant(tensor) = &mut value.source
                && is_elsewhere(&value.name, tensor)
            {
                tensor.forget();
            }
        }
    }

    /// Lets go of the file that constants are parts of.
    pub fn detach(&mut self) {
        for value in &mut self.values {
            if let Source::Constant(tensor) = &mut value.source {
                tensor.detach();
            }
        }
        for node in self.nodes.iter_mut().flatten() {
            for body in node.bodies.values_mut() {
                body.detach();
            }
        }
    }

    /// True for a value whose name others know: graph inputs and outputs, and what bodies capture.
    pub fn is_pinned(&self, id: ValueId) -> bool {
        let name = &*self.value(id).name;
        matches!(
            self.value(id).source,
            Source::Input { .. } | Source::Capture
        ) || self.outputs.contains(&id)
            || self.nodes().any(|(_, node)| node.captures(name))
    }

    /// Nodes that read each value, bodies included; a node that reads a value twice is there twice.
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.values.len()];
        for (id, node) in self.nodes() {
            for value in node.inputs.iter().flatten() {
                readers[value.idx()].push(id);
            }
            for name in node.bodies.values().flat_map(Graph::captured_names) {
                if let Some(value) = self.find(name) {
                    readers[value.idx()].push(id);
                }
            }
        }
        readers
    }

    /// Names that this graph takes from the graph around it.
    pub fn captured_names(&self) -> impl Iterator<Item = &str> {
        let captured = self
            .values
            .iter()
            .filter(|value| matches!(value.source, Source::Capture));
        captured.map(|value| &*value.name)
    }

    /// The nodes in an order in which every input comes before its reader, otherwise as added.
    ///
    /// # Errors
    /// `MODEL_PARSE` naming a node on a cycle.
    pub fn order(&self) -> Result<Vec<NodeId>> {
        let readers = self.readers();
        let mut missing = vec![0_usize; self.nodes.len()];
        for (value_idx, value) in self.values.iter().enumerate() {
            if let Source::Node { .. } = value.source {
                for reader in &readers[value_idx] {
                    missing[reader.idx()] += 1;
                }
            }
        }
        // The smallest id first keeps the order of the file where that is already right.
        let ready = self.nodes().filter(|(id, _)| missing[id.idx()] == 0);
        let mut ready: BTreeSet<NodeId> = ready.map(|(id, _)| id).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(id) = ready.pop_first() {
            order.push(id);
            for value in self.node(id).outputs.iter().flatten() {
                for reader in &readers[value.idx()] {
                    missing[reader.idx()] -= 1;
                    if missing[reader.idx()] == 0 {
                        ready.insert(*reader);
                    }
                }
            }
        }
        match self.nodes().find(|(id, _)| missing[id.idx()] > 0) {
            Some((_, node)) => Err(Error::parse(node.label(), "the node is on a cycle")),
            None => Ok(order),
        }
    }

    /// A part of the graph: these nodes with the constants they read; what else they read are its
    /// inputs. Names stay.
    ///
    /// # Errors
    /// `INTERNAL` when an output is made by none of the nodes.
    pub fn subgraph(&self, nodes: &[NodeId], outputs: &[ValueId]) -> Result<Graph> {
        let mut part = Graph {
            opsets: self.opsets.clone(),
            ..Graph::default()
        };
        let mut copies: HashMap<ValueId, ValueId> = HashMap::new();
        for &id in nodes {
            for &value in self.node(id).outputs.iter().flatten() {
                let Value { name, fact, .. } = self.value(value);
                let copy = part.add_value(name, fact.clone(), Source::Nothing)?;
                copies.insert(value, copy);
            }
        }
        for &id in nodes {
            let mut node = self.node(id).clone();
            let captured = node.bodies.values().flat_map(Graph::captured_names);
            let captured: Vec<ValueId> = captured.filter_map(|name| self.find(name)).collect();
            for value in node.inputs.iter().copied().flatten().chain(captured) {
                if let Entry::Vacant(entry) = copies.entry(value) {
                    let Value { name, fact, source } = self.value(value);
                    entry.insert(match source {
                        Source::Constant(tensor) if !tensor.is_forgotten() => {
                            part.add_constant(name, tensor.clone())?
                        }
                        _ => part.add_input(name, fact.clone())?,
                    });
                }
            }
            for value in node.inputs.iter_mut().chain(&mut node.outputs).flatten() {
                *value = copies[value];
            }
            part.add_node(node)?;
        }
        for value in outputs {
            let name = || self.value(*value).name.to_string();
            let copy = copies.get(value);
            let copy =
                copy.ok_or_else(|| Error::internal(name(), "no node of the part makes it"))?;
            part.outputs.push(*copy);
        }
        Ok(part)
    }

    /// The same graph with constants that say nothing but their shape and type, for showing.
    pub fn without_constants(mut self) -> Graph {
        for value in &mut self.values {
            if let Source::Constant(_) = value.source {
                value.source = Source::Nothing;
            }
        }
        self
    }

    /// Removes nodes and constants that no output needs; returns whether there were any.
    pub fn remove_dead(&mut self) -> Result<bool> {
        let mut live: HashSet<ValueId> = self.outputs.iter().copied().collect();
        let mut dead = Vec::new();
        for id in self.order()?.into_iter().rev() {
            let node = self.node(id);
            if !node
                .outputs
                .iter()
                .flatten()
                .any(|value| live.contains(value))
            {
                dead.push(id);
                continue;
            }
            live.extend(node.inputs.iter().flatten());
            let captured: Vec<ValueId> = node
                .bodies
                .values()
                .flat_map(Graph::captured_names)
                .filter_map(|name| self.find(name))
                .collect();
            live.extend(captured);
        }
        for &id in &dead {
            self.remove_node(id);
        }
        let mut changed = !dead.is_empty();
        for (idx, value) in self.values.iter_mut().enumerate() {
            if matches!(value.source, Source::Constant(_)) && !live.contains(&ValueId::new(idx)) {
                value.source = Source::Nothing;
                changed = true;
            }
        }
        Ok(changed)
    }
}

impl Node {
    pub fn new(op: OpName, inputs: Vec<Option<ValueId>>, outputs: Vec<Option<ValueId>>) -> Node {
        Node {
            name: "".into(),
            op,
            inputs,
            outputs,
            attrs: Attrs::default(),
            bodies: BTreeMap::new(),
        }
    }

    pub fn with_attr(mut self, name: &str, attr: Attr) -> Node {
        self.attrs.set(name, attr);
        self
    }

    /// True when a body of this node reads the value of that name from around it.
    pub fn captures(&self, name: &str) -> bool {
        let mut bodies = self.bodies.values();
        bodies.any(|body| body.captured_names().any(|captured| captured == name))
    }

    /// How errors and placements name the node: `Conv /features/0/conv`.
    pub fn label(&self) -> String {
        if self.name.is_empty() {
            self.op.to_string()
        } else {
            format!("{} {}", self.op, self.name)
        }
    }
}
