//! Numbers for what a model leaves open: defaults of inputs, symbolic dimensions, sizes and values
//! of what a caller feeds.

use std::collections::{BTreeMap, HashMap};

use super::Sizes;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Source, specialize};
use crate::inspect::Port;
use crate::tensor::{Dim, Fact, Shape};

/// Makes constants of inputs that have an initializer: callers see and feed the others.
pub(super) fn fix_defaults(graph: &mut Graph) {
    let inputs = std::mem::take(&mut graph.inputs);
    for id in inputs {
        let value = graph.value_mut(id);
        match &mut value.source {
            Source::Input { default } if default.is_some() => {
                let tensor = default.take().expect("the guard has seen it");
                value.fact = Fact::of(&tensor);
                value.source = Source::Constant(tensor);
            }
            _ => graph.inputs.push(id),
        }
    }
}

/// Puts the caller's sizes in place of symbolic dimensions.
pub(super) fn bind_free_dimensions(graph: &mut Graph, sizes: &BTreeMap<String, i64>) -> Result<()> {
    if sizes.is_empty() {
        return Ok(());
    }
    let mut known: Vec<String> = Vec::new();
    for &input in &graph.inputs {
        for dim in graph
            .value(input)
            .fact
            .shape
            .iter()
            .flat_map(|shape| shape.iter())
        {
            if let Dim::Symbol(name) = dim {
                known.push(name.to_string());
            }
        }
    }
    for (name, &size) in sizes {
        let wrong = |why: String| Err(Error::new(ErrorKind::InvalidInput, name, why));
        if !known.contains(name) {
            let known = known.join(", ");
            return wrong(format!(
                "no input has a dimension of this name; there are: {known}"
            ));
        }
        if size < 0 {
            return wrong(format!("{size} is no size"));
        }
    }
    specialize(graph, &|name| sizes.get(name).copied());
    Ok(())
}

/// The sizes that inputs give to the symbols in their declared shapes.
pub(super) fn symbols(inputs: &[Port], sizes: &Sizes) -> Result<HashMap<String, i64>> {
    let mut symbols: HashMap<String, (i64, &str)> = HashMap::new();
    for port in inputs {
        let (Some(shape), Some(sizes)) = (&port.fact.shape, sizes.get(&port.name)) else {
            continue;
        };
        let fits = shape.rank() == sizes.len();
        let wrong = || {
            Error::shape(
                &port.name,
                format!("expected {shape}, got {}", Shape::known(sizes)),
            )
        };
        if !fits {
            return Err(wrong());
        }
        for (dim, &size) in shape.iter().zip(sizes) {
            let size = i64::try_from(size).map_err(|_| wrong())?;
            match dim {
                Dim::Size(expected) if *expected != size => return Err(wrong()),
                Dim::Symbol(name) => {
                    let known = symbols
                        .entry(name.to_string())
                        .or_insert((size, &port.name));
                    if known.0 != size {
                        let why = format!(
                            "dimension {name} is {size} here and {} in input {}",
                            known.0, known.1
                        );
                        return Err(Error::shape(&port.name, why));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(symbols
        .into_iter()
        .map(|(name, (size, _))| (name, size))
        .collect())
}

/// Puts sizes of inputs in place of what their shapes leave open, throughout the graph.
pub(super) fn bind_sizes(graph: &mut Graph, inputs: &[Port], sizes: &Sizes) -> Result<()> {
    let symbols = symbols(inputs, sizes)?;
    specialize(graph, &|name| symbols.get(name).copied());
    for input in graph.inputs.clone() {
        let value = graph.value_mut(input);
        if let Some(sizes) = sizes.get(&*value.name) {
            value.fact.shape = Some(Shape::known(sizes));
        }
    }
    Ok(())
}
