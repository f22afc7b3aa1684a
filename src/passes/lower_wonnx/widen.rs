//! Half precision inside a graph as f32, which is what wonnx computes in.

use half::{bf16, f16};

use crate::graph::{Graph, NodeId, Source};
use crate::ops::Attr;
use crate::tensor::{DType, Tensor};

/// Makes every value of 16-bit floats one of f32. A graph that takes or gives such values, or
/// has bodies, stays as it is.
pub(super) fn widen_halves(graph: &mut Graph) {
    let is_half = |dtype: Option<DType>| matches!(dtype, Some(DType::F16 | DType::BF16));
    let mut ports = graph.inputs.iter().chain(&graph.outputs);
    let has_bodies = graph.nodes().any(|(_, node)| !node.bodies.is_empty());
    if has_bodies || ports.any(|&value| is_half(graph.value(value).fact.dtype)) {
        return;
    }
    let ids: Vec<_> = graph.values().map(|(id, _)| id).collect();
    for id in ids {
        let value = graph.value_mut(id);
        if !is_half(value.fact.dtype) {
            continue;
        }
        value.fact.dtype = Some(DType::F32);
        if let Source::Constant(tensor) = &mut value.source {
            *tensor = widened(tensor);
        }
    }
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        let node = graph.node_mut(id);
        let to = node.attrs.int("to").and_then(DType::from_onnx);
        if node.op.is("Cast") && is_half(to) {
            node.attrs.set("to", Attr::Int(DType::F32.onnx().into()));
        }
    }
}

fn widened(tensor: &Tensor) -> Tensor {
    let elements: Vec<f32> = match (tensor.elements::<f16>(), tensor.elements::<bf16>()) {
        (Some(elements), _) => elements.iter().map(|x| x.to_f32()).collect(),
        (_, Some(elements)) => elements.iter().map(|x| x.to_f32()).collect(),
        _ => unreachable!("the caller has seen a half"),
    };
    Tensor::from_vec(tensor.sizes(), elements).expect("one element for each")
}
