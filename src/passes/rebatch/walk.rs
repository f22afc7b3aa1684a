//! Through a graph in order: what is known of each value, mended where one number of rows is
//! baked in, and what it is to the rows.

use super::class::{Class, Classes, Content, Place, Product, mentions};
use super::site::Site;
use super::{mend, rules};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Source, ValueId, infer_node};
use crate::passes::{Evaluate, fold};
use crate::tensor::{Dim, Fact, MAX_VALUE_ELEMENTS};

pub(super) struct Walk<'a> {
    /// The symbol for the number of rows.
    pub batch: &'a str,
    /// The number of rows that the model was made for, to be mended where it is baked in.
    pub baked: Option<i64>,
    pub evaluate: Evaluate<'a>,
    /// Unknown sizes so far that got a name.
    pub n_named: usize,
}

impl Walk<'_> {
    /// Classifies what the nodes make, given the classes of inputs and captured values.
    pub fn graph(&mut self, graph: &mut Graph, classes: &mut Classes) -> Result<()> {
        for id in graph.order()? {
            self.node(graph, id, classes)?;
        }
        Ok(())
    }

    fn node(&mut self, graph: &mut Graph, id: NodeId, classes: &mut Classes) -> Result<()> {
        if let Some(n_rows) = self.baked {
            for helper in mend::mend(graph, id, classes, self.batch, n_rows)? {
                self.node(graph, helper, classes)?;
            }
        }
        if self.is_split(graph, id, classes) {
            return self.branches(graph, id, classes);
        }
        let inferred = infer_node(graph, id);
        let label = graph.node(id).label();
        let found = match inferred {
            Err(error) => Err(error.to_string()),
            Ok(()) => self.class(graph, id, classes).map_err(|why| match why {
                Refusal::Here(why) => format!("{label}: {why}"),
                Refusal::Before(why) => why,
            }),
        };
        let outputs: Vec<ValueId> = graph.node(id).outputs.iter().flatten().copied().collect();
        match found {
            Err(why) => {
                for value in outputs {
                    classes.set(value, Class::Mixed(why.as_str().into()));
                }
            }
            Ok(found) => {
                let is_shared = found.iter().all(|class| *class == Class::Shared);
                for (value, class) in outputs.iter().zip(found) {
                    let settled = self.settle(graph, *value, class);
                    let settled = settled.map_err(|why| format!("{label}: {why}"));
                    classes.set(
                        *value,
                        settled.unwrap_or_else(|why| Class::Mixed(why.into())),
                    );
                }
                if is_shared && is_small(graph, &outputs) {
                    fold::fold_node(graph, id, self.evaluate);
                }
            }
        }
        Ok(())
    }

    /// The class of each output that is there, before its shape is looked at.
    fn class(
        &self,
        graph: &Graph,
        id: NodeId,
        classes: &Classes,
    ) -> std::result::Result<Vec<Class>, Refusal> {
        let node = graph.node(id);
        let captured = node.bodies.values().flat_map(Graph::captured_names);
        let captured = captured.filter_map(|name| graph.find(name));
        let inputs = node.inputs.iter().flatten().copied().chain(captured);
        let inputs: Vec<Class> = inputs.map(|value| classes.of(graph, value)).collect();
        if let Some(Class::Mixed(why)) =
            inputs.iter().find(|class| matches!(class, Class::Mixed(_)))
        {
            return Err(Refusal::Before(why.to_string()));
        }
        let outputs: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        if rules::is_random(node) {
            return Err(Refusal::Here("it draws random numbers".into()));
        }
        if inputs.iter().all(|class| *class == Class::Shared) {
            return Ok(vec![Class::Shared; outputs.len()]);
        }
        if !node.bodies.is_empty() {
            return Err(Refusal::Here("its graph sees the rows".into()));
        }
        let has_rows = inputs.iter().any(|class| matches!(class, Class::Rows(..)));
        let is_shape = node.op.is("Shape") || node.op.is("Size");
        if is_shape || !has_rows {
            let known = |value: &ValueId| {
                let elements = graph.value(*value).fact.value.as_ref()?;
                let is_free = |dim: &Dim| *dim != Dim::Unknown && !mentions(dim, self.batch);
                Some(match elements.iter().all(is_free) {
                    true => Class::Shared,
                    false => Class::Extent,
                })
            };
            if let Some(known) = outputs.iter().map(known).collect() {
                return Ok(known);
            }
        }
        let site = Site {
            graph,
            node,
            classes,
            batch: self.batch,
        };
        let (places, content) = rules::places(&site).map_err(Refusal::Here)?;
        let place = |idx: usize| places.get(idx).unwrap_or(&places[0]).clone();
        let there = (0..node.outputs.len()).filter(|&idx| node.output(idx).is_some());
        Ok(there.map(|idx| Class::Rows(place(idx), content)).collect())
    }

    /// Checks a class against the inferred shape, and names the sizes that inference left unknown:
    /// they are the same however many rows there are.
    fn settle(
        &mut self,
        graph: &mut Graph,
        value: ValueId,
        class: Class,
    ) -> std::result::Result<Class, String> {
        let fact = &mut graph.value_mut(value).fact;
        let place = match &class {
            Class::Rows(place, _) => Some(place),
            Class::Shared => None,
            Class::Extent | Class::Mixed(_) => return Ok(class),
        };
        let Some(shape) = &mut fact.shape else {
            return match place {
                Some(_) => Err("the rank of the result is unknown".into()),
                None => Ok(class),
            };
        };
        if let Some(place) = place {
            let at = shape.get(place.axis);
            let expected = || place.outer.clone().times(&place.inner)?.times(&self.rows());
            let fits = at.and_then(|at| Product::of(std::slice::from_ref(at)));
            if fits.is_none() || fits != expected() {
                return Err(format!(
                    "the result {shape} has not the size of the rows on axis {}",
                    place.axis
                ));
            }
        }
        for (axis, dim) in shape.0.iter_mut().enumerate() {
            if place.is_some_and(|place| place.axis == axis) {
                continue;
            }
            if mentions(dim, self.batch) {
                return Err(format!("axis {axis} of the result is {dim}"));
            }
            if *dim == Dim::Unknown {
                *dim = self.name();
            }
        }
        Ok(class)
    }

    fn rows(&self) -> Product {
        Product::of(&[Dim::symbol(self.batch)]).expect("a symbol is known")
    }

    /// A symbol that nothing else has.
    pub fn name(&mut self) -> Dim {
        self.n_named += 1;
        Dim::symbol(&format!("{}#{}", self.batch, self.n_named))
    }

    /// True for an `If` whose branches see rows or their number and whose condition does not.
    fn is_split(&self, graph: &Graph, id: NodeId, classes: &Classes) -> bool {
        let node = graph.node(id);
        let is_shared = |value| classes.of(graph, value) == Class::Shared;
        node.op.is("If")
            && node.input(0).is_some_and(is_shared)
            && !node
                .bodies
                .values()
                .flat_map(Graph::captured_names)
                .filter_map(|name| graph.find(name))
                .all(is_shared)
    }

    /// What both branches of an `If` agree on.
    fn branches(&mut self, graph: &mut Graph, id: NodeId, classes: &mut Classes) -> Result<()> {
        let mut bodies = std::mem::take(&mut graph.node_mut(id).bodies);
        let mut found: Vec<Vec<(Class, Fact)>> = Vec::new();
        for body in bodies.values_mut() {
            let mut inner = Classes::default();
            let captured: Vec<ValueId> = body.values().map(|(id, _)| id).collect();
            for value in captured {
                let Source::Capture = body.value(value).source else {
                    continue;
                };
                if let Some(outer) = graph.find(&body.value(value).name) {
                    inner.set(value, classes.of(graph, outer));
                    body.value_mut(value).fact = graph.value(outer).fact.clone();
                }
            }
            self.graph(body, &mut inner)?;
            let outputs = body.outputs.iter();
            found.push(
                outputs
                    .map(|&value| (inner.of(body, value), body.value(value).fact.clone()))
                    .collect(),
            );
        }
        let node = graph.node_mut(id);
        node.bodies = bodies;
        let label = node.label();
        let outputs: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        let taken = rules::taken_branch(graph, id);
        for (idx, value) in outputs.into_iter().enumerate() {
            let mut given: Vec<(Class, Fact)> = found
                .iter()
                .filter_map(|branch| branch.get(idx).cloned())
                .collect();
            if let Some(taken) = taken.filter(|&taken| taken < given.len()) {
                given = vec![given.swap_remove(taken)];
            }
            let class = self.agreed(graph, value, &given);
            let class = class.unwrap_or_else(|why| match why {
                Refusal::Before(why) => Class::Mixed(why.into()),
                Refusal::Here(why) => Class::Mixed(format!("{label}: {why}").into()),
            });
            classes.set(value, class);
        }
        Ok(())
    }

    fn agreed(
        &mut self,
        graph: &mut Graph,
        value: ValueId,
        given: &[(Class, Fact)],
    ) -> std::result::Result<Class, Refusal> {
        let differ = || Refusal::Here("its branches have their rows at different places".into());
        let (first, fact) = given.first().ok_or_else(differ)?;
        for (class, _) in given {
            if let Class::Mixed(why) = class {
                return Err(Refusal::Before(why.to_string()));
            }
            if class != first || *class == Class::Extent {
                return Err(differ());
            }
        }
        let mut agreed = fact.clone();
        agreed.value = None;
        for (_, fact) in given {
            let same_rank = match (&mut agreed.shape, &fact.shape) {
                (Some(a), Some(b)) if a.rank() == b.rank() => {
                    for (a, b) in a.0.iter_mut().zip(b.iter()) {
                        if a != b {
                            *a = Dim::Unknown;
                        }
                    }
                    true
                }
                _ => false,
            };
            if !same_rank {
                agreed.shape = None;
            }
        }
        graph.value_mut(value).fact = agreed;
        self.settle(graph, value, first.clone())
            .map_err(Refusal::Here)
    }
}

enum Refusal {
    /// By this node.
    Here(String),
    /// By a node on the way to it.
    Before(String),
}

/// True where the elements are few enough to be shapes, axes or scales.
fn is_small(graph: &Graph, outputs: &[ValueId]) -> bool {
    outputs.iter().all(|&value| {
        let shape = graph.value(value).fact.shape.as_ref();
        let n_elements = shape.and_then(|shape| shape.elements().size());
        n_elements.is_some_and(|n| n <= MAX_VALUE_ELEMENTS)
    })
}

/// Where a value has its rows, if it carries any.
pub(super) fn rows_of(class: &Class) -> Option<Place> {
    match class {
        Class::Rows(place, _) => Some(place.clone()),
        _ => None,
    }
}

/// Rows as the caller gives them.
pub(super) fn given(axis: usize) -> Class {
    Class::Rows(Place::plain(axis), Content::Row)
}
