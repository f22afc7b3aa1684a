//! Model-local functions, which are put in where they are called.

use std::collections::HashMap;

use super::build::{Builder, Scope, node_place};
use super::schema::{FunctionProto, NodeProto, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Node, Source};
use crate::ops::OpName;
use crate::tensor::Fact;

/// Functions that call functions, and graphs between them.
const MAX_SCOPES: usize = 64;

/// Function bodies put in, as bytes of the file: what a few bytes can ask for is not bounded
/// otherwise.
const MAX_EXPANDED_BYTES: usize = 16 << 20;

fn name(function: &FunctionProto) -> String {
    format!("function {}", OpName::new(function.domain, function.name))
}

impl<'m> Builder<'m> {
    pub(super) fn add_functions(&mut self, functions: &'m [FunctionProto<'m>]) -> Result<()> {
        for function in functions {
            let key = (function.domain, function.name, function.overload);
            if self.functions.insert(key, function).is_some() {
                return Err(Error::parse(name(function), "two functions have this name"));
            }
            // A domain that only functions use is not named by the model.
            for &(domain, version) in &function.opsets {
                let domain = super::schema::default_domain(domain);
                self.opsets.entry(domain.into()).or_insert(version);
            }
        }
        Ok(())
    }

    /// Puts the nodes of a function in the place of a node that calls it.
    pub(super) fn call(
        &mut self,
        proto: &'m NodeProto<'m>,
        function: &'m FunctionProto<'m>,
    ) -> Result<()> {
        self.check_call(proto, function)?;
        let attributes = self.call_attributes(proto, function)?;
        let mut names = HashMap::new();
        for (idx, formal) in function.inputs.iter().enumerate() {
            let actual = match proto.inputs.get(idx) {
                None | Some(&"") => None,
                Some(actual) => self.resolve(actual)?,
            };
            if names.insert(*formal, actual).is_some() {
                let why = format!("two inputs have the name {formal:?}");
                return Err(Error::parse(name(function), why));
            }
        }
        // An output that is also an input, or an output twice, needs a node of its own.
        let mut copies = Vec::new();
        for (formal, actual) in function.outputs.iter().zip(self.outputs_of(proto)) {
            let Some(actual) = actual else { continue };
            if names.contains_key(formal) {
                copies.push((*formal, actual));
            } else {
                names.insert(formal, Some(actual));
            }
        }
        let prefix = self.free_prefix(proto, function);
        let level = self.levels.len() - 1;
        self.scopes.push(Scope {
            level,
            names,
            prefix,
            function: Some(function),
            attributes,
        });
        for (idx, node) in function.nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                if self.scope().names.contains_key(output) {
                    continue;
                }
                let full_name = self.full_name(output);
                let id = self
                    .level()
                    .add_value(&full_name, Fact::default(), Source::Nothing)
                    .map_err(|error| error.within(node_place(idx, node)))?;
                self.scope().names.insert(output, Some(id));
            }
        }
        for (idx, node) in function.nodes.iter().enumerate() {
            self.node(node)
                .map_err(|error| error.within(node_place(idx, node)).within(name(function)))?;
        }
        for (formal, actual) in copies {
            let source = self.resolve(formal)?;
            let identity = Node::new(OpName::onnx("Identity"), vec![source], vec![Some(actual)]);
            self.level().add_node(identity)?;
        }
        self.scopes.pop();
        Ok(())
    }

    fn check_call(&mut self, proto: &NodeProto, function: &'m FunctionProto<'m>) -> Result<()> {
        let calls = self.scopes.iter().filter_map(|scope| scope.function);
        if calls
            .into_iter()
            .any(|calling| std::ptr::eq(calling, function))
        {
            return Err(Error::parse(name(function), "the function calls itself"));
        }
        if self.scopes.len() >= MAX_SCOPES {
            let why = format!("functions nest deeper than {MAX_SCOPES}");
            return Err(Error::parse(name(function), why));
        }
        self.expanded_bytes = self.expanded_bytes.saturating_add(function.size_bytes);
        if self.expanded_bytes > MAX_EXPANDED_BYTES {
            let why = format!("functions expand to more than {MAX_EXPANDED_BYTES} bytes");
            return Err(Error::new(ErrorKind::TooLarge, name(function), why));
        }
        let (n_inputs, n_outputs) = (proto.inputs.len(), proto.outputs.len());
        if n_inputs > function.inputs.len() || n_outputs > function.outputs.len() {
            let why = format!(
                "{n_inputs} inputs and {n_outputs} outputs for a function with {} and {}",
                function.inputs.len(),
                function.outputs.len()
            );
            return Err(Error::parse(name(function), why));
        }
        for &(domain, version) in &function.opsets {
            let domain = super::schema::default_domain(domain);
            let outer = self.opsets.get(domain).copied().unwrap_or(version);
            if outer != version {
                let why = format!(
                    "the function uses version {version} of domain {domain:?}, the model {outer}"
                );
                return Err(Error::unsupported(name(function), why));
            }
        }
        Ok(())
    }

    /// The function's attributes in this call: the caller's, else the defaults.
    fn call_attributes(
        &self,
        proto: &'m NodeProto<'m>,
        function: &'m FunctionProto<'m>,
    ) -> Result<HashMap<&'m str, &'m Value<'m>>> {
        let defaults = function.defaults.iter();
        let mut attributes: HashMap<_, _> = defaults
            .map(|attribute| (attribute.name, &attribute.value))
            .collect();
        for attribute in &proto.attributes {
            let place = || format!("attribute {}", attribute.name);
            match self.value_of(attribute)? {
                // The graph would see the function's names instead of its own.
                Some(Value::Graph(_)) => {
                    return Err(Error::unsupported(
                        place(),
                        "a graph is given to a function",
                    ));
                }
                Some(value) => attributes.insert(attribute.name, value),
                None => continue,
            };
        }
        Ok(attributes)
    }

    /// A prefix under which none of the function's names is taken.
    fn free_prefix(&mut self, proto: &NodeProto, function: &FunctionProto) -> String {
        let stem = if proto.name.is_empty() {
            proto.op_type
        } else {
            proto.name
        };
        let stem = self.full_name(stem);
        let locals = function.nodes.iter().flat_map(|node| &node.outputs);
        let level = self.level();
        let is_free = |prefix: &String| {
            locals
                .clone()
                .all(|local| level.find(&format!("{prefix}{local}")).is_none())
        };
        let numbered = (1..).map(|n| format!("{stem}.{n}/"));
        std::iter::once(format!("{stem}/"))
            .chain(numbered)
            .find(is_free)
            .expect("there are more numbers than names")
    }
}
