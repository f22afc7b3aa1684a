//! `Max`, `Mean`, `Min`, `Sum` of any number of inputs, which broadcast.

use super::binary::{Fold, fitted, fold};
use super::pointwise::{Operand, pointwise};
use super::rules::{
    broadcast_inputs, expect_dtype, fact, is_number, onnx, same_dtype, tensor, with_value,
};
use super::{Function, Inputs, Op, OpDef};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Kernel, Refusal, Storage};
use crate::tensor::{DType, Dim, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Max",
        |_, _| variadic(Kind::Max, |x, y| x.max(y)),
        &[
            "input x: f32[n, 1]\n input y: f32[3]\n input w: f32[2, 1, 1]\n z = Max(x, y, w)\n output z: f32[2, n, 3]",
            "input x: f32[4]\n z = Max(x)\n output z: f32[4]",
            "const x: i64[2] = [1, 5]\n const y: i64[] = [3]\n d = Max(x, y)\n z = ConstantOfShape(d)\n output z: f32[3, 5]",
            "input a: f32[7]\n input b: f32[n, 7]\n input c: f32[7]\n input d: f32[n, 7]\n input e: f32[7]\n input f: f32[n, 7]\n input g: f32[7]\n input h: f32[n, 7]\n input i: f32[7]\n z = Max(a, b, c, d, e, f, g, h, i)\n output z: f32[n, 7]",
        ],
    ),
    onnx(
        "Mean",
        |_, _| variadic(Kind::Mean, |_, _| Dim::Unknown),
        &[
            "input x: f32[2, 1]\n input y: f32[3]\n z = Mean(x, y)\n output z: f32[2, 3]",
            "input a: f32[7]\n input b: f32[n, 7]\n input c: f32[7]\n input d: f32[n, 7]\n input e: f32[7]\n input f: f32[n, 7]\n input g: f32[7]\n input h: f32[n, 7]\n input i: f32[7]\n z = Mean(a, b, c, d, e, f, g, h, i)\n output z: f32[n, 7]",
        ],
    ),
    onnx(
        "Min",
        |_, _| variadic(Kind::Min, |x, y| x.min(y)),
        &[
            "input x: i8[n]\n input y: i8[n]\n z = Min(x, y)\n output z: i8[n]",
            "input x: i64[n, 5]\n input y: i64[5]\n z = Min(x, y)\n output z: i64[n, 5]",
        ],
    ),
    onnx(
        "Sum",
        |_, _| variadic(Kind::Sum, |x, y| x + y),
        &[
            "input x: f32[2, 1]\n input y: f32[3]\n input w: f32[]\n z = Sum(x, y, w)\n output z: f32[2, 3]",
            "input a: f32[7]\n input b: f32[n, 7]\n input c: f32[7]\n input d: f32[n, 7]\n input e: f32[7]\n input f: f32[n, 7]\n input g: f32[7]\n input h: f32[n, 7]\n input i: f32[7]\n z = Sum(a, b, c, d, e, f, g, h, i)\n output z: f32[n, 7]",
        ],
    ),
];

/// `Max`, `Min`, `Sum` and `Mean` of one input or more. Before version 8 the shapes are equal,
/// which is a case of broadcasting.
struct Variadic {
    kind: Kind,
    value: Fold,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Max,
    Mean,
    Min,
    Sum,
}

fn variadic(kind: Kind, value: Fold) -> Result<Box<dyn Op>> {
    Ok(Box::new(Variadic { kind, value }))
}

impl Op for Variadic {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let idxs = 0..inputs.facts.len();
        let mut value = tensor(inputs, 0)?.value.clone();
        for idx in idxs.clone() {
            let x = tensor(inputs, idx)?;
            if self.kind == Kind::Mean {
                expect_dtype(inputs, idx, DType::is_float, "a float type")?;
            } else {
                expect_dtype(inputs, idx, is_number, "a number type")?;
            }
            if idx > 0 {
                value = fold(value.as_deref(), x.value.as_deref(), self.value);
            }
        }
        let dtype = same_dtype(inputs, idxs.clone())?;
        let shape = broadcast_inputs(inputs, idxs)?;
        Ok(vec![with_value(fact(dtype, shape), fitted(dtype, value))])
    }

    fn function(&self, n_operands: usize) -> Option<Function> {
        let expression = match self.kind {
            Kind::Max => "max(x, y)",
            Kind::Min => "min(x, y)",
            Kind::Sum => "x + y",
            Kind::Mean => return None,
        };
        (n_operands == 2).then(|| Function {
            expression: expression.to_owned(),
            functions: "",
        })
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let n_inputs = call.inputs.len();
        if n_inputs == 1 {
            call.input(0)?;
            return Ok(Dispatch::view(0));
        }
        let mut rest = Vec::with_capacity(n_inputs);
        for idx in 0..n_inputs {
            rest.push((call.input(idx)?, call.sizes(idx)));
        }
        let y_sizes = call.output_sizes(0);
        let y = call.output(0)?;
        let mut dispatch = Dispatch::default();
        // One buffer is for the result; what it has no room for goes on with the result so far.
        let max_operands = call.caps.max_storage_buffers as usize - 1;
        while rest.len() > 1 {
            let now: Vec<Operand> = rest.drain(..rest.len().min(max_operands)).collect();
            let is_last = rest.is_empty();
            let to = if is_last {
                y
            } else {
                let storage = if y.storage.is_float() {
                    Storage::F32
                } else {
                    y.storage
                };
                dispatch.add_scratch(storage, y_sizes.iter().product())
            };
            let kernel = self.kernel(now.len(), is_last.then_some(n_inputs));
            let to = (to, y_sizes.clone());
            let launch = pointwise(kernel, &now, to.clone(), call.caps);
            dispatch.launches.push(launch);
            if !is_last {
                rest.insert(0, to);
            }
        }
        Ok(dispatch)
    }
}

impl Variadic {
    /// Joins some operands; the last kernel of a mean knows how many there were.
    fn kernel(&self, n_operands: usize, n_inputs: Option<usize>) -> Kernel {
        let operands: Vec<String> = (0..n_operands).map(|idx| format!("x{idx}")).collect();
        let nested = |function: &str| {
            let first = operands[0].clone();
            operands[1..].iter().fold(first, |so_far, operand| {
                format!("{function}({so_far}, {operand})")
            })
        };
        let sum = operands.join(" + ");
        let expression = match (self.kind, n_inputs) {
            (Kind::Max, _) => nested("max"),
            (Kind::Min, _) => nested("min"),
            (Kind::Mean, Some(n_inputs)) => format!("({sum}) / {n_inputs}.0"),
            (Kind::Mean, None) | (Kind::Sum, _) => sum,
        };
        let arguments = operands.iter().enumerate();
        let arguments: Vec<String> = arguments
            .map(|(idx, operand)| format!("{operand}: in{idx}"))
            .collect();
        Kernel::new(
            "variadic",
            &format!(
                "fn apply({}) -> out {{ return {expression}; }}",
                arguments.join(", ")
            ),
        )
    }
}
