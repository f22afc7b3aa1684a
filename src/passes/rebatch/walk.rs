//! Through a graph in order: what is known of each value, mended where one number of rows is
//! baked in, and what it is to the rows.

use super::class::{Class, Classes, Content, Place, Product, mentions};
use super::site::Site;
use super::{mend, rules};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Source, ValueId, infer_node};
use crate::passes::{Evaluate, fold};
use crate::tensor::{Dim, Fact, MAX_VALUE_ELEMENTS};

const MAX_BAKED_ELEMENTS: usize = 1 << 16;

pub(super) struct Walk<'a> {
    /// The symbol for the number of rows.
    pub batch: &'a str,
    /// The number of rows that the model was made for, to be mended where it is baked in.
    pub baked: Option<i64>,
    pub evaluate: Evaluate<'a>,
    /// Unknown sizes so far that got a name.
    pub n_named: usize,
    pub paths: Paths,
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
            return self.branch(graph, id, classes);
        }
        let inferred = infer_node(graph, id);
        let label = graph.node(id).label();
        let found = match inferred {
            Err(error) => {
                self.paths.impossible.get_or_insert(error.to_string());
                Err(error.to_string())
            }
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
                if is_shared && self.is_small(graph, &outputs) {
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

    /// True where the elements are few enough to be shapes, axes or scales; with several rows
    /// baked in, also to be a part that is the same for each of them.
    fn is_small(&self, graph: &Graph, outputs: &[ValueId]) -> bool {
        let limit = match self.baked {
            Some(2..) => MAX_BAKED_ELEMENTS,
            _ => MAX_VALUE_ELEMENTS,
        };
        outputs.iter().all(|&value| {
            let shape = graph.value(value).fact.shape.as_ref();
            let n_elements = shape.and_then(|shape| shape.elements().size());
            n_elements.is_some_and(|n| n <= limit)
        })
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

    /// Follows one branch of an `If`: that of a known condition, or that of the current path.
    fn branch(&mut self, graph: &mut Graph, id: NodeId, classes: &mut Classes) -> Result<()> {
        let taken = match rules::known_branch(graph, id) {
            Some(name) => name,
            None => BRANCHES[self.paths.choose()],
        };
        let mut bodies = std::mem::take(&mut graph.node_mut(id).bodies);
        let given = bodies
            .get_mut(taken)
            .map(|body| self.body(graph, body, classes));
        let given = given.transpose()?.unwrap_or_default();
        let node = graph.node_mut(id);
        node.bodies = bodies;
        let outputs = node.outputs.clone();
        for (value, (class, fact)) in outputs.into_iter().zip(given) {
            let Some(value) = value else { continue };
            graph.value_mut(value).fact = fact;
            classes.set(value, class);
        }
        Ok(())
    }

    /// The classes and facts of what a body gives.
    fn body(
        &mut self,
        graph: &Graph,
        body: &mut Graph,
        classes: &Classes,
    ) -> Result<Vec<(Class, Fact)>> {
        let mut inner = Classes::default();
        let captured = body.captured_names().map(str::to_owned);
        for name in captured.collect::<Vec<_>>() {
            let (Some(outer), Some(value)) = (graph.find(&name), body.find(&name)) else {
                continue;
            };
            inner.set(value, classes.of(graph, outer));
            let value = body.value_mut(value);
            value.fact = graph.value(outer).fact.clone();
            if let Some(tensor) = graph.constant(outer) {
                value.source = Source::Constant(tensor.clone());
            }
        }
        self.graph(body, &mut inner)?;
        let outputs = body.outputs.iter();
        let given = outputs.map(|&value| (inner.of(body, value), body.value(value).fact.clone()));
        Ok(given.collect())
    }
}

/// What may be done where a condition is known only later, one path at a time.
#[derive(Default)]
pub(super) struct Paths {
    choices: Vec<usize>,
    n_chosen: usize,
    /// Why inference says that nothing can take the current path.
    pub impossible: Option<String>,
}

const BRANCHES: [&str; 2] = ["then_branch", "else_branch"];

impl Paths {
    fn choose(&mut self) -> usize {
        if self.n_chosen == self.choices.len() {
            self.choices.push(0);
        }
        self.n_chosen += 1;
        self.choices[self.n_chosen - 1]
    }

    pub fn is_only_one(&self) -> bool {
        self.choices.is_empty()
    }

    /// Goes to the next path, unless this was the last one.
    pub fn advance(&mut self) -> bool {
        while self.choices.last() == Some(&(BRANCHES.len() - 1)) {
            self.choices.pop();
        }
        self.n_chosen = 0;
        self.impossible = None;
        let last = self.choices.last_mut();
        last.map(|choice| *choice += 1).is_some()
    }
}

enum Refusal {
    /// By this node.
    Here(String),
    /// By a node on the way to it.
    Before(String),
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
