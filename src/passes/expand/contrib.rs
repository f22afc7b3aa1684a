//! ONNX Runtime's fused operators (domain `com.microsoft`).

use super::{Build, Formula, Skip, activation};
use crate::graph::ValueId;
use crate::ops::{Attr, Attrs, chain};

// gelu(x + bias)
pub(super) fn bias_gelu(b: &Build) -> Formula {
    let sum = b.add(b.x()?, b.input(1)?);
    Ok(b.op("Gelu", &[sum]))
}

pub(super) fn gelu(b: &Build) -> Formula {
    Ok(b.op("Gelu", &[b.x()?]))
}

// the tanh form of gelu(x + bias)
pub(super) fn fast_gelu(b: &Build) -> Formula {
    let x = b.x()?;
    let sum = b.node.input(1).map_or(x, |bias| b.add(x, bias));
    Ok(b.op_with(
        "Gelu",
        &[sum],
        [("approximate", Attr::Str(b"tanh".to_vec()))],
    ))
}

// x * sigmoid(alpha * x)
pub(super) fn quick_gelu(b: &Build) -> Formula {
    let x = b.x()?;
    activation::swish_of(b, x, b.float("alpha", 1.702))
}

// layer_norm(x + skip + bias); the sum is the fourth output
pub(super) fn skip_layer_normalization(b: &Build) -> Formula {
    let mut sum = b.add(b.x()?, b.input(1)?);
    if let Some(bias) = b.node.input(4) {
        sum = b.add(sum, bias);
    }
    b.also(3, sum);
    let mut attrs = Attrs::default();
    attrs.set("axis", Attr::Int(-1));
    attrs.set(
        "epsilon",
        Attr::Float(b.node.attrs.float("epsilon").unwrap_or(1e-12)),
    );
    let inputs = [Some(sum), Some(b.input(2)?), b.node.input(3)];
    let n_outputs = (1..3)
        .rev()
        .find(|&idx| b.node.output(idx).is_some())
        .map_or(1, |idx| idx + 1);
    let outputs = b.op_outputs("LayerNormalization", &inputs, attrs, n_outputs);
    for (idx, &output) in outputs.iter().enumerate().skip(1) {
        b.also(idx, output);
    }
    Ok(outputs[0])
}

// gain * activation(conv(x, w, bias) + z) + shift, where gain and shift are our own
pub(super) fn fused_conv(b: &Build) -> Formula {
    let mut attrs = b.node.attrs.clone();
    for name in ["activation", "activation_params", "gain", "shift"] {
        attrs.remove(name);
    }
    let mut y = b.op_attrs(
        "Conv",
        &[Some(b.x()?), Some(b.input(1)?), b.node.input(2)],
        attrs,
    );
    if let Some(z) = b.node.input(3) {
        y = b.add(y, z);
    }
    let params = b.node.attrs.floats("activation_params").unwrap_or_default();
    let mut y = activate(b, y, params)?;
    let (gain, shift) = (b.float("gain", 1.0), b.float("shift", 0.0));
    if gain != 1.0 {
        y = b.mul(y, b.like(b.x()?, gain)?);
    }
    if shift != 0.0 {
        y = b.add(y, b.like(b.x()?, shift)?);
    }
    Ok(y)
}

// activation(gemm(a, b, c))
pub(super) fn fused_gemm(b: &Build) -> Formula {
    let mut attrs = Attrs::default();
    for name in ["alpha", "beta", "transA", "transB"] {
        if let Some(attr) = b.node.attrs.get(name) {
            attrs.set(name, attr.clone());
        }
    }
    let y = b.op_attrs(
        "Gemm",
        &[Some(b.x()?), Some(b.input(1)?), b.node.input(2)],
        attrs,
    );
    let named = |name: &str| b.node.attrs.float(name);
    let params: Vec<f32> = named("activation_alpha")
        .into_iter()
        .chain(named("activation_beta"))
        .collect();
    activate(b, y, &params)
}

/// The activation that the node names, with its parameters in the order of ContribOperators.md. Of
/// the names that are our own, `GeluTanh` is the approximation of `Gelu`.
fn activate(b: &Build, y: ValueId, params: &[f32]) -> Formula {
    let param = |idx: usize, name: &'static str, default: f32| {
        let param = params.get(idx).copied().unwrap_or(default);
        (name, Attr::Float(param))
    };
    let dtype = b.dtype(b.x()?)?;
    Ok(match b.node.attrs.str("activation").unwrap_or_default() {
        "" => y,
        name @ ("Exp" | "HardSwish" | "Mish" | "Relu" | "Sigmoid" | "Softplus" | "Tanh") => {
            b.op(name, &[y])
        }
        name @ "Elu" => b.op_with(name, &[y], [param(0, "alpha", 1.0)]),
        name @ "LeakyRelu" => b.op_with(name, &[y], [param(0, "alpha", 0.01)]),
        name @ "Swish" => b.op_with(name, &[y], [param(0, "alpha", 1.0)]),
        name @ "HardSigmoid" => {
            let attrs = [param(0, "alpha", 0.2), param(1, "beta", 0.5)];
            b.op_with(name, &[y], attrs)
        }
        "Gelu" => b.op("Gelu", &[y]),
        "GeluTanh" => {
            let tanh = Attr::Str(b"tanh".to_vec());
            b.op_with("Gelu", &[y], [("approximate", tanh)])
        }
        "Clip" => {
            let &[min, max] = params else {
                return Err(Skip::Refused("activation_params are not two bounds"));
            };
            let bound = |bound: f32, nothing: f32| {
                let bounds = bound != nothing;
                bounds.then(|| b.scalar(dtype, bound.into())).transpose()
            };
            b.op_attrs(
                "Clip",
                &[Some(y), bound(min, f32::MIN)?, bound(max, f32::MAX)?],
                Attrs::default(),
            )
        }
        _ => return Err(Skip::Refused("the activation is unknown")),
    })
}

// alpha * matmul(a, b)
pub(super) fn fused_matmul(b: &Build) -> Formula {
    if b.int("transBatchA", 0) != 0 || b.int("transBatchB", 0) != 0 {
        return Err(Skip::Refused("the batch axis is moved"));
    }
    scaled_product(b, ["transA", "transB"])
}

// activation(alpha * matmul(a, b) + bias + residual)
pub(super) fn own_matmul(b: &Build) -> Formula {
    let mut y = scaled_product(b, ["trans_a", "trans_b"])?;
    for added in [2, 3].into_iter().filter_map(|idx| b.node.input(idx)) {
        y = b.add(y, added);
    }
    let params = b.node.attrs.floats("activation_params").unwrap_or_default();
    activate(b, y, params)
}

// one node for each step
pub(super) fn chain(b: &Build) -> Formula {
    let wrong = |_| Skip::Refused("its steps are none");
    let steps = chain::steps(&b.node.attrs, b.node.inputs.len()).map_err(wrong)?;
    let mut values = Vec::new();
    for idx in 0..b.node.inputs.len() {
        values.push(b.input(idx)?);
    }
    for step in steps {
        let operands: Vec<ValueId> = step.operands.iter().map(|&idx| values[idx]).collect();
        values.push(b.op_attrs(&step.op, &operands, step.attrs));
    }
    Ok(values[values.len() - 1])
}

/// alpha * matmul(a, b), each with its last two axes exchanged where its attribute says so.
fn scaled_product(b: &Build, attrs: [&str; 2]) -> Formula {
    let oriented = |idx: usize| -> Formula {
        let value = b.input(idx)?;
        if b.int(attrs[idx], 0) == 0 {
            return Ok(value);
        }
        let rank = b.rank(value)?;
        let mut perm: Vec<i64> = (0..rank as i64).collect();
        // A vector stays as it is.
        if rank >= 2 {
            perm.swap(rank - 2, rank - 1);
        }
        Ok(b.transpose(value, &perm))
    };
    let y = b.op("MatMul", &[oriented(0)?, oriented(1)?]);
    let alpha = b.float("alpha", 1.0);
    Ok(if alpha == 1.0 {
        y
    } else {
        b.mul(y, b.like(b.x()?, alpha)?)
    })
}
