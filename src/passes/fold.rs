//! Constants computed ahead of time, and shape arithmetic that follows from known shapes.

use super::Evaluate;
use crate::error::Result;
use crate::graph::{Graph, Node, NodeId, Source, infer_node};
use crate::tensor::{DType, Dim, Fact, MAX_VALUE_ELEMENTS, Tensor};

/// A folded output may be this large, or twice its inputs: `Expand` of one element must not
/// become a file's worth of weights.
const MAX_FOLDED_BYTES: usize = 1 << 20;

/// Infers every node in order and replaces by constants what is known; returns whether anything
/// was folded.
pub(super) fn infer_and_fold(graph: &mut Graph, evaluate: Evaluate) -> Result<bool> {
    let mut changed = false;
    for id in graph.order()? {
        infer_node(graph, id)?;
        changed |= fold_bodies(graph, id, evaluate)?;
        changed |= fold_node(graph, id, evaluate);
    }
    Ok(changed)
}

/// Replaces an inferred node by constants where its outputs are known; returns whether they were.
pub(super) fn fold_node(graph: &mut Graph, id: NodeId, evaluate: Evaluate) -> bool {
    let Some(tensors) = known_outputs(graph, id).or_else(|| computed(graph, id, evaluate)) else {
        return false;
    };
    let node = graph.remove_node(id);
    for (value, tensor) in node.outputs.iter().zip(tensors) {
        let Some(value) = *value else { continue };
        let value = graph.value_mut(value);
        value.fact = Fact::of(&tensor);
        value.source = Source::Constant(tensor);
    }
    true
}

/// Folds inside the bodies of a node, where small constants from around it become constants too.
fn fold_bodies(graph: &mut Graph, id: NodeId, evaluate: Evaluate) -> Result<bool> {
    if graph.node(id).bodies.is_empty() {
        return Ok(false);
    }
    let mut changed = false;
    let is_if = graph.node(id).op.is("If");
    let mut bodies = std::mem::take(&mut graph.node_mut(id).bodies);
    for body in bodies.values_mut() {
        let captured: Vec<String> = body.captured_names().map(str::to_owned).collect();
        for name in captured {
            let outer = graph.find(&name).and_then(|value| graph.constant(value));
            let (Some(tensor), Some(inner)) = (outer, body.find(&name)) else {
                continue;
            };
            if tensor.len() <= MAX_VALUE_ELEMENTS {
                let value = body.value_mut(inner);
                value.fact = Fact::of(tensor);
                value.source = Source::Constant(tensor.clone());
                changed = true;
            }
        }
        match infer_and_fold(body, evaluate) {
            Ok(folded) => changed |= folded | body.remove_dead()?,
            // Inference has seen that another branch can be taken.
            Err(_) if is_if => {}
            Err(error) => return Err(error),
        }
    }
    graph.node_mut(id).bodies = bodies;
    Ok(changed)
}

/// The outputs of shape arithmetic, exact in 64 bits.
fn known_outputs(graph: &Graph, id: NodeId) -> Option<Vec<Tensor>> {
    let node = graph.node(id);
    node.outputs
        .iter()
        .map(|output| known(&graph.value((*output)?).fact))
        .collect()
}

fn known(fact: &Fact) -> Option<Tensor> {
    let elements: Option<Vec<i64>> = fact.value.as_ref()?.iter().map(Dim::value).collect();
    let (elements, sizes) = (elements?, fact.sizes()?);
    match fact.dtype? {
        DType::I64 => Tensor::from_vec(&sizes, elements).ok(),
        DType::I32 => {
            let narrow: Option<Vec<i32>> = elements.iter().map(|&n| n.try_into().ok()).collect();
            Tensor::from_vec(&sizes, narrow?).ok()
        }
        DType::Bool => {
            let bytes: Vec<u8> = elements.iter().map(|&n| u8::from(n != 0)).collect();
            Tensor::from_bytes(DType::Bool, &sizes, bytes).ok()
        }
        _ => None,
    }
}

/// The outputs of a node whose inputs are all constant, through the evaluator. A node that the
/// evaluator does not take stays in the graph.
fn computed(graph: &Graph, id: NodeId, evaluate: Evaluate) -> Option<Vec<Tensor>> {
    let node = graph.node(id);
    if !node.bodies.is_empty() || is_random(node) {
        return None;
    }
    let constants: Vec<_> = node
        .inputs
        .iter()
        .map(|value| value.map(|v| graph.constant(v)))
        .collect();
    let is_exact = |(input_idx, constant): (usize, &Option<Option<&Tensor>>)| match constant {
        Some(Some(constant)) => saturates(node, input_idx) || exact(constant),
        other => other.is_none(),
    };
    if !constants.iter().enumerate().all(is_exact) {
        return None;
    }
    let input_bytes: usize = constants
        .iter()
        .flatten()
        .flatten()
        .map(|c| c.bytes().len())
        .sum();
    for value in node.outputs.iter().flatten() {
        let fact = &graph.value(*value).fact;
        let count = fact.shape.as_ref()?.elements().size();
        // Only NonZero and its like have sizes that inference does not know: they make few.
        let bytes = count.map_or(Some(input_bytes * 8), |count| fact.dtype?.size_bytes(count))?;
        if bytes > MAX_FOLDED_BYTES.max(2 * input_bytes) {
            return None;
        }
    }
    let small = single_node_graph(graph, node).ok()?;
    let tensors = evaluate(&small).ok()?;
    let fits = node.outputs.iter().zip(&tensors).all(|(output, tensor)| {
        let Some(output) = output else { return true };
        let fact = &graph.value(*output).fact;
        fact.dtype.is_none_or(|dtype| dtype == tensor.dtype())
            && fact.sizes().is_none_or(|sizes| sizes == tensor.sizes())
    });
    (fits && node.outputs.iter().all(Option::is_some) && tensors.len() == node.outputs.len())
        .then_some(tensors)
}

/// The evaluator computes with 32-bit integers: larger ones would come out wrong.
fn exact(constant: &Tensor) -> bool {
    if !matches!(constant.dtype(), DType::I64 | DType::U64 | DType::U32) {
        return true;
    }
    let fits = |elements: Vec<i64>| elements.iter().all(|&n| i32::try_from(n).is_ok());
    constant.to_i64s().is_some_and(fits)
}

/// True for bounds of a slice: beyond the ends all numbers are alike.
fn saturates(node: &Node, input_idx: usize) -> bool {
    node.op.is("Slice") && (1..3).contains(&input_idx)
}

/// The same integers, those beyond 32 bits at the ends of what these hold.
fn saturated(constant: &Tensor) -> Tensor {
    let clamp = |n: i64| n.clamp(i32::MIN.into(), i32::MAX.into());
    let Some(elements) = constant.elements::<i64>() else {
        return constant.clone();
    };
    let clamped = elements.iter().map(|&n| clamp(n)).collect();
    Tensor::from_vec(constant.sizes(), clamped).expect("the elements are as many")
}

fn is_random(node: &Node) -> bool {
    let name = &*node.op.name;
    name.starts_with("Random") || matches!(name, "Bernoulli" | "Multinomial" | "Dropout")
}

/// A graph of just this node and its constants.
fn single_node_graph(graph: &Graph, node: &Node) -> Result<Graph> {
    let mut small = Graph::default();
    small.opsets = graph.opsets.clone();
    let mut copy = node.clone();
    for (input_idx, input) in copy.inputs.iter_mut().enumerate() {
        let Some(input) = input else { continue };
        let value = graph.value(*input);
        *input = match (small.find(&value.name), graph.constant(*input)) {
            (Some(known), _) => known,
            (None, Some(tensor)) if saturates(node, input_idx) => {
                small.add_constant(&value.name, saturated(tensor))?
            }
            (None, Some(tensor)) => small.add_constant(&value.name, tensor.clone())?,
            (None, None) => unreachable!("the caller has seen only constants"),
        };
    }
    for (idx, output) in copy.outputs.iter_mut().enumerate() {
        let Some(value) = output else { continue };
        let value = graph.value(*value);
        let name = if value.name.is_empty() {
            format!("#{idx}")
        } else {
            value.name.to_string()
        };
        let made = small.add_value(&name, value.fact.clone(), Source::Nothing)?;
        small.outputs.push(made);
        *output = Some(made);
    }
    small.add_node(copy)?;
    Ok(small)
}
