//! Operators that choose or weigh their operands element by element: `PRelu`, `SwiGLU`, `Where`.

use super::pointwise::pointwise;
use super::rules::{
    broadcast, broadcast_inputs, expect_dtype, fact, is_bool, onnx, same_dtype, tensor,
    unify_shapes, with_value,
};
use super::{Inputs, Op, OpDef, activation};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Refusal};
use crate::tensor::{DType, Dim, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "PRelu",
        |_, version| {
            Ok(Box::new(PRelu {
                stretches: version >= 7,
            }))
        },
        &[
            "input x: f32[n, 3, 4]\n input slope: f32[3, 1]\n z = PRelu(x, slope)\n output z: f32[n, 3, 4]",
            "opset 6\n input x: f32[2, 3, 4]\n input slope: f32[3]\n z = PRelu(x, slope)\n output z: f32[2, 3, 4]",
            "input x: f32[n, 3, 8]\n input slope: f32[3, 1]\n z = PRelu(x, slope)\n output z: f32[n, 3, 8]",
        ],
    ),
    onnx(
        "SwiGLU",
        |attrs, _| {
            Ok(Box::new(SwiGlu {
                alpha: attrs.float("alpha").unwrap_or(1.0),
            }))
        },
        &[
            "opset 28\n input a: f32[n, 8]\n input b: f32[?, 8]\n y = SwiGLU(a, b)\n output y: f32[n, 8]",
        ],
    ),
    onnx(
        "Where",
        |_, _| Ok(Box::new(Where)),
        &[
            "input c: bool[n, 1]\n input x: f32[]\n input y: f32[3]\n z = Where(c, x, y)\n output z: f32[n, 3]",
            "input v: f32[n, 5]\n s = Shape(v)\n const minus: i64[] = [-1]\n c = Equal(s, minus)\n const ones: i64[2] = [1, 1]\n t = Where(c, ones, s)\n z = ConstantOfShape(t)\n output z: f32[n, 5]",
            "input c: bool[n, 3, 8]\n input x: f32[3, 1]\n input y: f32[n, 3, 8]\n z = Where(c, x, y)\n output z: f32[n, 3, 8]",
            "input c: bool[n, 7]\n input x: i8[n, 7]\n input y: i8[n, 7]\n z = Where(c, x, y)\n output z: i8[n, 7]",
            "input c: bool[7]\n input x: f16[n, 7]\n const y: f16[] = [-2.0]\n z = Where(c, x, y)\n output z: f16[n, 7]",
            "input c: bool[]\n input x: i64[n, 7]\n input y: i64[n, 7]\n z = Where(c, x, y)\n output z: i64[n, 7]",
        ],
    ),
];

/// x: any shape, slope: broadcasts to x -> the shape of x. Before version 7 the slope has one
/// element or one per channel.
struct PRelu {
    stretches: bool,
}

impl Op for PRelu {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, slope) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let dtype = same_dtype(inputs, 0..2)?;
        if let (Some(x), Some(slope), true) = (&x.shape, &slope.shape, self.stretches) {
            let grows = |(x, both): (&Dim, &Dim)| x.is_known() && both.is_known() && x != both;
            let both = broadcast(x, slope)?;
            if both.rank() > x.rank() || x.iter().zip(both.iter()).any(grows) {
                let why = format!("slope {slope} does not broadcast to {x}");
                return Err(Error::shape("", why));
            }
        }
        Ok(vec![fact(dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if !self.stretches {
            return Err("its form before version 7 has no kernel".into());
        }
        if call.input(0)?.storage.value() == "u32" {
            return call.input(0).map(|_| Dispatch::view(0));
        }
        let apply = "fn apply(x: in0, y: in1) -> out { return select(x, y * x, x < in0(0)); }";
        all_inputs(Kernel::new("prelu", apply), call, 2)
    }
}

/// a, b: the same shape -> that shape.
struct SwiGlu {
    alpha: f32,
}

impl Op for SwiGlu {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        expect_dtype(inputs, 0, DType::is_float, "a float type")?;
        let dtype = same_dtype(inputs, 0..2)?;
        let shape = unify_shapes(a.shape.as_ref(), b.shape.as_ref(), "gate and value")?;
        Ok(vec![fact(dtype, shape)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let swish = activation::expression("Swish", &[self.alpha]);
        let swish = swish.ok_or("alpha is no finite number")?;
        let gate = activation::function("gate", &swish, "in0");
        let apply = format!("{gate}\nfn apply(x: in0, y: in1) -> out {{ return gate(x) * y; }}");
        all_inputs(Kernel::new("swiglu", &apply), call, 2)
    }
}

/// `z = condition ? x : y`; all three broadcast.
struct Where;

impl Op for Where {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (condition, x, y) = (tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?);
        expect_dtype(inputs, 0, is_bool, "bool")?;
        let dtype = same_dtype(inputs, 1..3)?;
        let shape = broadcast_inputs(inputs, 0..3)?;
        let n_elements = shape.as_ref().and_then(|shape| shape.elements().size());
        let choice = n_elements.and_then(|n_elements| {
            let (condition, x, y) = (
                condition.value.as_ref()?,
                x.value.as_ref()?,
                y.value.as_ref()?,
            );
            let at = |list: &[Dim], idx: usize| match list {
                [one] => Some(one.clone()),
                list => list.get(idx).cloned(),
            };
            let choose = |idx: usize| {
                let (x, y) = (at(x, idx)?, at(y, idx)?);
                Some(match at(condition, idx)? {
                    Dim::Size(0) => y,
                    Dim::Size(_) => x,
                    _ if x == y => x,
                    _ => Dim::Unknown,
                })
            };
            (0..n_elements).map(choose).collect()
        });
        Ok(vec![with_value(fact(dtype, shape), choice)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let apply = "fn apply(c: in0, x: in1, y: in2) -> out { return select(y, x, c); }";
        all_inputs(Kernel::new("where", apply), call, 3)
    }
}

fn all_inputs(kernel: Kernel, call: &Call, n_inputs: usize) -> Result<Dispatch, Refusal> {
    let mut operands = Vec::with_capacity(n_inputs);
    for idx in 0..n_inputs {
        operands.push((call.input(idx)?, call.sizes(idx)));
    }
    let y = (call.output(0)?, call.output_sizes(0));
    Ok(Dispatch::one(pointwise(kernel, &operands, y, call.caps)))
}
