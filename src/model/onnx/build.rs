//! Messages to a [`Graph`]: names become typed ids, `Constant` nodes and initializers become
//! constants, graphs in attributes become bodies that capture by name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::external::External;
use super::schema::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, Value};
use super::schema::{TensorProto, ValueInfo};
use super::tensor::tensor;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Node, Source, ValueId};
use crate::ops::{Attr, Attrs, OpName};
use crate::tensor::{Fact, Kind, Tensor};

/// Graphs inside graphs. Deeper ones would not fit the nesting that the reader allows in a file.
const MAX_LEVELS: usize = 16;

/// Nodes after all functions are put in.
const MAX_NODES: usize = 1 << 20;

/// The names of a function, by which nodes call it: domain, name, overload.
pub(super) type FunctionKey<'m> = (&'m str, &'m str, &'m str);

pub(super) struct Builder<'m> {
    pub(super) ir_version: i64,
    pub(super) external: &'m dyn External,
    pub(super) opsets: BTreeMap<Arc<str>, i64>,
    pub(super) functions: HashMap<FunctionKey<'m>, &'m FunctionProto<'m>>,
    /// The graph that is being built and those around it, outermost first.
    pub(super) levels: Vec<Graph>,
    /// Who may see which names: one scope for each graph and each function call, outermost first.
    pub(super) scopes: Vec<Scope<'m>>,
    pub(super) n_nodes: usize,
    /// Bytes of function bodies that have been put in.
    pub(super) expanded_bytes: usize,
}

/// The names of one graph, or of one call of a function.
pub(super) struct Scope<'m> {
    /// The index of the graph that the names' values are in.
    pub(super) level: usize,
    /// `None` for an input that the caller of the function leaves out.
    pub(super) names: HashMap<&'m str, Option<ValueId>>,
    /// Stands before the names of values and nodes that come from a function.
    pub(super) prefix: String,
    /// The function, which sees no name of its caller.
    pub(super) function: Option<&'m FunctionProto<'m>>,
    /// What the function's attributes are in this call.
    pub(super) attributes: HashMap<&'m str, &'m Value<'m>>,
}

/// The graph of a model.
///
/// # Errors
/// `MODEL_PARSE` for names that clash or lead nowhere, `MODEL_UNSUPPORTED` for parts of ONNX that
/// the engine does not take, `TOO_LARGE` for functions that expand without end.
pub(super) fn build<'m>(model: &'m ModelProto<'m>, external: &'m dyn External) -> Result<Graph> {
    let Some(graph) = &model.graph else {
        return Err(Error::parse("ModelProto.graph", "the model has no graph"));
    };
    let mut opsets = BTreeMap::new();
    for &(domain, version) in &model.opsets {
        let name: Arc<str> = super::schema::default_domain(domain).into();
        if opsets
            .insert(name, version)
            .is_some_and(|earlier| earlier != version)
        {
            let why = format!("domain {domain:?} has two versions");
            return Err(Error::parse("ModelProto.opset_import", why));
        }
    }
    let mut builder = Builder {
        ir_version: model.ir_version,
        external,
        opsets,
        functions: HashMap::new(),
        levels: Vec::new(),
        scopes: Vec::new(),
        n_nodes: 0,
        expanded_bytes: 0,
    };
    builder.add_functions(&model.functions)?;
    builder.graph(graph)
}

impl<'m> Builder<'m> {
    pub(super) fn scope(&mut self) -> &mut Scope<'m> {
        self.scopes.last_mut().expect("a graph is being built")
    }

    pub(super) fn level(&mut self) -> &mut Graph {
        self.levels.last_mut().expect("a graph is being built")
    }

    /// The value's name in the graph, which differs from the file's inside functions.
    pub(super) fn full_name(&self, name: &str) -> String {
        let prefix = self.scopes.last().map_or("", |scope| &scope.prefix);
        format!("{prefix}{name}")
    }

    /// Adds a value that the current graph defines under a name of the file.
    fn define(&mut self, name: &'m str, fact: Fact, source: Source) -> Result<ValueId> {
        let full_name = self.full_name(name);
        let id = self.level().add_value(&full_name, fact, source)?;
        self.scope().names.insert(name, Some(id));
        Ok(id)
    }

    fn graph(&mut self, proto: &'m GraphProto<'m>) -> Result<Graph> {
        let level = self.levels.len();
        if level == MAX_LEVELS {
            return Err(Error::parse(
                "",
                format!("graphs nest deeper than {MAX_LEVELS}"),
            ));
        }
        if proto.n_sparse_initializers > 0 {
            return Err(Error::unsupported(
                "GraphProto",
                "the graph has sparse initializers",
            ));
        }
        let mut graph = Graph::default();
        graph.name = proto.name.to_owned();
        graph.opsets = self.opsets.clone();
        self.levels.push(graph);
        self.scopes.push(Scope {
            level,
            names: HashMap::with_capacity(proto.nodes.len() + proto.initializers.len()),
            prefix: self
                .scopes
                .last()
                .map_or_else(String::new, |scope| scope.prefix.clone()),
            function: None,
            attributes: HashMap::new(),
        });
        self.inputs(proto)?;
        self.node_outputs(proto)?;
        for (idx, node) in proto.nodes.iter().enumerate() {
            self.node(node)
                .map_err(|error| error.within(node_place(idx, node)))?;
        }
        self.outputs(proto)?;
        self.scopes.pop();
        Ok(self.levels.pop().expect("the graph has been pushed"))
    }

    /// Inputs and initializers. An initializer that is an input too is its default; before IR
    /// version 4 every initializer is an input and none can be given.
    fn inputs(&mut self, proto: &'m GraphProto<'m>) -> Result<()> {
        let is_model_graph = self.levels.len() == 1;
        let mut initializers: HashMap<&str, &'m TensorProto> = HashMap::new();
        for initializer in &proto.initializers {
            let place = || super::tensor::place(initializer);
            if initializers.insert(initializer.name, initializer).is_some() {
                return Err(Error::parse(place(), "two initializers have this name"));
            }
        }
        for input in &proto.inputs {
            let place = || format!("input {:?} at byte {}", input.name, input.at);
            let fact = input.fact.clone().unwrap_or_default();
            if is_model_graph && fact.kind != Kind::Other && fact.dtype.is_none() {
                return Err(Error::parse(place(), "the input has no type"));
            }
            let is_constant = is_model_graph && self.ir_version < 4;
            let default = match initializers.get(input.name) {
                Some(_) if is_constant => continue,
                Some(initializer) => Some(tensor(initializer, self.external)?),
                None => None,
            };
            initializers.remove(input.name);
            let id = self
                .define(input.name, fact, Source::Input { default })
                .map_err(|error| error.within(place()))?;
            self.level().inputs.push(id);
        }
        for initializer in &proto.initializers {
            if initializers.contains_key(initializer.name) {
                let tensor = tensor(initializer, self.external)?;
                self.define(
                    initializer.name,
                    Fact::of(&tensor),
                    Source::Constant(tensor),
                )
                .map_err(|error| error.within(super::tensor::place(initializer)))?;
            }
        }
        Ok(())
    }

    /// Names everything that nodes make before any node is looked at: files may have nodes in any
    /// order.
    fn node_outputs(&mut self, proto: &'m GraphProto<'m>) -> Result<()> {
        let declared = proto.values.iter().chain(&proto.outputs);
        let facts: HashMap<&str, &Fact> = declared
            .filter_map(|value| Some((value.name, value.fact.as_ref()?)))
            .collect();
        for (idx, node) in proto.nodes.iter().enumerate() {
            for name in node.outputs.iter().filter(|name| !name.is_empty()) {
                let fact = facts.get(name).copied().cloned().unwrap_or_default();
                self.define(name, fact, Source::Nothing)
                    .map_err(|error| error.within(node_place(idx, node)))?;
            }
        }
        Ok(())
    }

    fn outputs(&mut self, proto: &'m GraphProto<'m>) -> Result<()> {
        if proto.outputs.is_empty() && self.levels.len() == 1 {
            return Err(Error::parse(
                "GraphProto.output",
                "the graph has no outputs",
            ));
        }
        let mut seen = HashSet::new();
        for ValueInfo { name, at, .. } in &proto.outputs {
            let place = || format!("output {name:?} at byte {at}");
            if !seen.insert(*name) && self.levels.len() == 1 {
                return Err(Error::parse(place(), "two outputs have this name"));
            }
            let id = self.resolve(name).map_err(|error| error.within(place()))?;
            let missing = || Error::parse(place(), "nothing makes the output");
            self.level().outputs.push(id.ok_or_else(missing)?);
        }
        Ok(())
    }

    /// The value that a name stands for here; `None` for a function's input that is left out.
    ///
    /// # Errors
    /// `MODEL_PARSE` when nothing has that name.
    pub(super) fn resolve(&mut self, name: &'m str) -> Result<Option<ValueId>> {
        for scope in self.scopes.iter().rev() {
            if let Some(&id) = scope.names.get(name) {
                let level = scope.level;
                return id.map(|id| self.capture(name, level, id)).transpose();
            }
            if scope.function.is_some() {
                break;
            }
        }
        Err(Error::parse("", format!("nothing makes {name:?}")))
    }

    /// Makes a value of an outer graph known in the current one and all between.
    fn capture(&mut self, name: &'m str, level: usize, id: ValueId) -> Result<ValueId> {
        if level + 1 == self.levels.len() {
            return Ok(id);
        }
        let outer_name = self.levels[level].value(id).name.clone();
        let mut captured = id;
        for graph in &mut self.levels[level + 1..] {
            captured = match graph.find(&outer_name) {
                None => graph.add_value(&outer_name, Fact::default(), Source::Capture)?,
                Some(known) if matches!(graph.value(known).source, Source::Capture) => known,
                Some(_) => {
                    let why = "a graph inside defines the same name as the graph around it";
                    return Err(Error::parse(format!("{outer_name:?}"), why));
                }
            };
        }
        self.scope().names.insert(name, Some(captured));
        Ok(captured)
    }

    pub(super) fn node(&mut self, proto: &'m NodeProto<'m>) -> Result<()> {
        self.n_nodes += 1;
        if self.n_nodes > MAX_NODES {
            let why = format!("the model has more than {MAX_NODES} nodes");
            return Err(Error::new(ErrorKind::TooLarge, "", why));
        }
        let key = (proto.domain, proto.op_type, proto.overload);
        if let Some(function) = self.functions.get(&key).copied() {
            return self.call(proto, function);
        }
        let attrs = self.attrs(proto)?;
        if proto.domain.is_empty() && proto.op_type == "Constant" {
            return self.constant(proto, &attrs);
        }
        let mut inputs = Vec::with_capacity(proto.inputs.len());
        for name in &proto.inputs {
            inputs.push(if name.is_empty() {
                None
            } else {
                self.resolve(name)?
            });
        }
        let outputs = self.outputs_of(proto);
        let mut node = Node::new(OpName::new(proto.domain, proto.op_type), inputs, outputs);
        if !proto.name.is_empty() {
            node.name = self.full_name(proto.name).into();
        }
        node.attrs = attrs;
        for (name, body) in proto.bodies() {
            let graph = self.graph(body).map_err(|error| error.within(name))?;
            if node.bodies.insert(name.into(), graph).is_some() {
                return Err(Error::parse(name, "two attributes have this name"));
            }
        }
        self.level().add_node(node)?;
        Ok(())
    }

    /// The values of a node's outputs, which have been defined.
    pub(super) fn outputs_of(&mut self, proto: &NodeProto<'m>) -> Vec<Option<ValueId>> {
        let names = &self.scope().names;
        proto
            .outputs
            .iter()
            .map(|name| names.get(name).copied().flatten())
            .collect()
    }

    /// The value of an attribute, through the function call that gives it; `None` when the call
    /// does not.
    pub(super) fn value_of(
        &self,
        attribute: &'m AttributeProto<'m>,
    ) -> Result<Option<&'m Value<'m>>> {
        if attribute.reference.is_empty() {
            return Ok(Some(&attribute.value));
        }
        let function = self
            .scopes
            .iter()
            .rev()
            .find(|scope| scope.function.is_some());
        match function {
            Some(scope) => Ok(scope.attributes.get(attribute.reference).copied()),
            None => Err(Error::parse(
                format!("attribute {}", attribute.name),
                "only functions can refer to attributes",
            )),
        }
    }

    fn attrs(&self, proto: &'m NodeProto<'m>) -> Result<Attrs> {
        let mut attrs = Attrs::default();
        for attribute in &proto.attributes {
            let place = || format!("attribute {}", attribute.name);
            let Some(value) = self.value_of(attribute)? else {
                continue;
            };
            let attr = match value {
                Value::Float(x) => Attr::Float(*x),
                Value::Int(x) => Attr::Int(*x),
                Value::Str(text) => Attr::Str(text.to_vec()),
                Value::Floats(list) => Attr::Floats(list.clone()),
                Value::Ints(list) => Attr::Ints(list.clone()),
                Value::Strs(list) => Attr::Strs(list.iter().map(|text| text.to_vec()).collect()),
                Value::Type(fact) => Attr::Type((**fact).clone()),
                Value::Tensor(proto) => {
                    let tensor = tensor(proto, self.external);
                    Attr::Tensor(tensor.map_err(|error| error.within(place()))?)
                }
                Value::Graph(_) => continue,
                Value::Other(what) => {
                    return Err(Error::unsupported(
                        place(),
                        format!("the attribute is {what}"),
                    ));
                }
                Value::Missing => return Err(Error::parse(place(), "the attribute has no value")),
            };
            if attrs.get(attribute.name).is_some() {
                return Err(Error::parse(place(), "two attributes have this name"));
            }
            attrs.set(attribute.name, attr);
        }
        Ok(attrs)
    }

    /// A `Constant` node: its output becomes the constant.
    fn constant(&mut self, proto: &'m NodeProto<'m>, attrs: &Attrs) -> Result<()> {
        let [Some(id)] = self.outputs_of(proto)[..] else {
            return Err(Error::parse("", "a constant has exactly one output"));
        };
        let mut values = attrs.iter().filter(|(name, _)| name.starts_with("value"));
        let (Some((_, attr)), None) = (values.next(), values.next()) else {
            return Err(Error::parse("", "a constant has exactly one value"));
        };
        let tensor = constant_value(attr)?;
        let value = self.level().value_mut(id);
        if !matches!(value.source, Source::Nothing) {
            let why = format!("output {} has more than one source", value.name);
            return Err(Error::parse("", why));
        }
        value.fact = Fact::of(&tensor);
        value.source = Source::Constant(tensor);
        Ok(())
    }
}

fn constant_value(attr: &Attr) -> Result<Tensor> {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::parse("", "a string is not UTF-8")),
    };
    match attr {
        Attr::Tensor(tensor) => Ok(tensor.clone()),
        Attr::Float(x) => Ok(Tensor::scalar(*x)),
        Attr::Int(x) => Ok(Tensor::scalar(*x)),
        Attr::Floats(list) => Ok(Tensor::vector(list)),
        Attr::Ints(list) => Ok(Tensor::vector(list)),
        Attr::Str(bytes) => Tensor::from_strings(&[], vec![text(bytes)?]),
        Attr::Strs(list) => {
            let strings: Result<Vec<String>> = list.iter().map(|bytes| text(bytes)).collect();
            Tensor::from_strings(&[list.len()], strings?)
        }
        Attr::Type(_) => Err(Error::parse("", "a constant cannot be a type")),
    }
}

/// How errors name a node of the file.
pub(super) fn node_place(idx: usize, node: &NodeProto) -> String {
    let op = OpName::new(node.domain, node.op_type);
    if node.name.is_empty() {
        format!("node {idx} {op}")
    } else {
        format!("node {idx} {op} {}", node.name)
    }
}
