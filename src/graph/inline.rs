//! A body in the place of the node that holds it.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Graph, NodeId, Patch, Source, ValueId};
use crate::error::{Error, Result};

impl Graph {
    /// Puts the nodes of a body without inputs (a branch of an `If`) in the place of its node; the
    /// body's outputs take the place of the node's. Names that are taken change.
    ///
    /// # Errors
    /// `MODEL_PARSE` when the body captures what is not there or has fewer outputs than the node.
    pub fn inline(&mut self, id: NodeId, body: Graph) -> Result<()> {
        let node = self.remove_node(id);
        let mut copies: HashMap<ValueId, ValueId> = HashMap::new();
        let mut renamed: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for (inner, value) in body.values() {
            let missing = || Error::parse(&*value.name, "a branch captures what is not there");
            let copy = match &value.source {
                Source::Capture => self.find(&value.name).ok_or_else(missing)?,
                source => {
                    let name = match self.find(&value.name) {
                        None => value.name.to_string(),
                        Some(_) => self.fresh_name(&value.name),
                    };
                    if *name != *value.name {
                        renamed.insert(value.name.clone(), name.as_str().into());
                    }
                    let source = match source {
                        Source::Constant(tensor) => Source::Constant(tensor.clone()),
                        _ => Source::Nothing,
                    };
                    self.add_value(&name, value.fact.clone(), source)?
                }
            };
            copies.insert(inner, copy);
        }
        for (_, inner) in body.nodes() {
            let mut copy = inner.clone();
            for value in copy.inputs.iter_mut().chain(&mut copy.outputs).flatten() {
                *value = copies[value];
            }
            for nested in copy.bodies.values_mut() {
                nested.rename_captures(&renamed);
            }
            self.add_node(copy)?;
        }
        let mut patch = Patch::default();
        for (output_idx, outer) in node.outputs.iter().enumerate() {
            let Some(outer) = *outer else { continue };
            let inner = body.outputs.get(output_idx).map(|inner| copies[inner]);
            let missing = || Error::parse(node.label(), "a branch has too few outputs");
            patch.replace(outer, inner.ok_or_else(missing)?);
        }
        patch.apply(self)
    }

    fn rename_captures(&mut self, renamed: &HashMap<Arc<str>, Arc<str>>) {
        for idx in 0..self.values.len() {
            let value = &mut self.values[idx];
            if let (Source::Capture, Some(new)) = (&value.source, renamed.get(&value.name)) {
                self.by_name.remove(&value.name);
                value.name = new.clone();
                self.by_name.insert(new.clone(), ValueId::new(idx));
            }
        }
        for node in self.nodes.iter_mut().flatten() {
            for nested in node.bodies.values_mut() {
                nested.rename_captures(renamed);
            }
        }
    }
}
