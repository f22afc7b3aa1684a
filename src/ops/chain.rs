//! `sentinel::Elementwise`, which passes make of elementwise operators over floats in a row: one
//! launch, and what stands between stays in registers.
//!
//! The attribute `steps` names the operators; `operands` has two numbers for each, counting the
//! inputs and then the steps before, with -1 where there is no second one. An attribute `alpha` of
//! step 3 is `alpha_3`.

use super::pointwise::{Operand, pointwise};
use super::{Attr, Attrs, Inputs, Op, OpDef, OpName, find, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Refusal};
use crate::tensor::Fact;

pub const DEFS: &[OpDef] = &[OpDef {
    domain: "sentinel",
    name: "Elementwise",
    parse,
    cases: &[
        "input a: f32[n, 3, 4]\n input b: f32[3, 1]\n input c: f32[]
         y = sentinel::Elementwise(a, b, c) {steps = [\"Mul\", \"Sub\", \"LeakyRelu\"], operands = [0, 1, 3, 2, 4, -1], alpha_2 = 0.25}
         output y: f32[n, 3, 4]",
        "input a: f32[n, 5]\n input b: f32[n, 5]
         y = sentinel::Elementwise(a, b) {steps = [\"Abs\", \"Sqrt\", \"Log\", \"Max\", \"Erf\"], operands = [0, -1, 2, -1, 3, -1, 4, 1, 5, -1]}
         output y: f32[n, 5]",
        "input a: f16[2, n]\n input b: f16[2, 1]
         y = sentinel::Elementwise(a, b) {steps = [\"Add\", \"Mul\"], operands = [0, 1, 2, 2]}
         output y: f16[2, n]",
    ],
}];

/// The version of ONNX's operators whose forms the steps have.
pub(crate) const OPSET: i64 = 21;

/// One of the steps.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub op: String,
    pub attrs: Attrs,
    /// Of the inputs and of the steps before.
    pub operands: Vec<usize>,
}

/// The steps that the attributes of a node with this many inputs say.
///
/// # Errors
/// `MODEL_PARSE` when they do not fit each other.
pub(crate) fn steps(attrs: &Attrs, n_inputs: usize) -> Result<Vec<Step>> {
    let wrong = || Error::parse("", "steps and operands do not fit each other");
    let (Some(Attr::Strs(names)), Some(operands)) = (attrs.get("steps"), attrs.ints("operands"))
    else {
        return Err(wrong());
    };
    if operands.len() != 2 * names.len() || names.is_empty() {
        return Err(wrong());
    }
    let pairs = operands.chunks_exact(2);
    let steps = names
        .iter()
        .zip(pairs)
        .enumerate()
        .map(|(idx, (name, pair))| {
            let operands = pair.iter().filter(|&&operand| operand != -1);
            let known = |&operand: &i64| {
                let operand = usize::try_from(operand).map_err(|_| wrong())?;
                (operand < n_inputs + idx)
                    .then_some(operand)
                    .ok_or_else(wrong)
            };
            let suffix = format!("_{idx}");
            let mut own = Attrs::default();
            for (name, attr) in attrs.iter() {
                if let Some(name) = name.strip_suffix(&*suffix) {
                    own.set(name, attr.clone());
                }
            }
            Ok(Step {
                op: String::from_utf8(name.clone()).map_err(|_| wrong())?,
                attrs: own,
                operands: operands.map(known).collect::<Result<_>>()?,
            })
        });
    steps.collect()
}

/// The attributes that say these steps.
pub(crate) fn attributes(steps: &[Step]) -> Attrs {
    let mut attrs = Attrs::default();
    let names = steps.iter().map(|step| step.op.clone().into_bytes());
    attrs.set("steps", Attr::Strs(names.collect()));
    let operands = steps.iter().flat_map(|step| {
        let operand = |idx: usize| step.operands.get(idx).map_or(-1, |&operand| operand as i64);
        [operand(0), operand(1)]
    });
    attrs.set("operands", Attr::Ints(operands.collect()));
    for (idx, step) in steps.iter().enumerate() {
        for (name, attr) in step.attrs.iter() {
            attrs.set(&format!("{name}_{idx}"), attr.clone());
        }
    }
    attrs
}

/// The function of one operator over floats, as WGSL of `x` and `y`, which are `real`: f32 or
/// vectors of four.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub expression: String,
    /// What it calls besides the functions of activations.
    pub functions: &'static str,
}

/// The function of a step, if it has one.
pub(crate) fn function(op: &str, attrs: &Attrs, n_operands: usize) -> Option<Function> {
    let def = find(&OpName::onnx(op))?;
    (def.parse)(attrs, OPSET).ok()?.function(n_operands)
}

struct Chain {
    attrs: Attrs,
}

fn parse(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Chain {
        attrs: attrs.clone(),
    }))
}

impl Op for Chain {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let n_inputs = inputs.facts.len();
        steps(&self.attrs, n_inputs)?;
        for idx in 0..n_inputs {
            rules::tensor(inputs, idx)?;
        }
        let dtype = rules::same_dtype(inputs, 0..n_inputs)?;
        let shape = rules::broadcast_inputs(inputs, 0..n_inputs)?;
        Ok(vec![rules::fact(dtype, shape)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let n_inputs = call.inputs.len();
        let steps = steps(&self.attrs, n_inputs).expect("infer has seen the steps");
        let y = (call.output(0)?, call.output_sizes(0));
        if !y.0.storage.is_float() {
            return Err("it is not over floats".into());
        }
        let mut functions = String::new();
        let mut lines = String::new();
        for (idx, step) in steps.iter().enumerate() {
            let n_operands = step.operands.len();
            let function = function(&step.op, &step.attrs, n_operands);
            let Function {
                expression,
                functions: called,
            } = function.ok_or_else(|| format!("{} has no function", step.op))?;
            if !functions.contains(called) {
                functions.push_str(called);
            }
            let (parameters, arguments): (Vec<String>, Vec<String>) = ["x", "y"]
                .iter()
                .zip(&step.operands)
                .map(|(name, operand)| (format!("{name}: real"), format!("v{operand}")))
                .unzip();
            functions.push_str(&format!(
                "fn step{idx}({}) -> real {{ return {expression}; }}\n",
                parameters.join(", ")
            ));
            lines.push_str(&format!(
                "  let v{} = step{idx}({});\n",
                n_inputs + idx,
                arguments.join(", ")
            ));
        }
        if functions.contains("_of(") {
            functions.push_str(include_str!("activation.wgsl"));
        }
        let parameters: Vec<String> = (0..n_inputs)
            .map(|idx| format!("v{idx}: in{idx}"))
            .collect();
        let apply = format!(
            "alias real = in0;\n{functions}fn apply({}) -> out {{\n{lines}  return v{};\n}}",
            parameters.join(", "),
            n_inputs + steps.len() - 1
        );
        let operands = (0..n_inputs).map(|idx| Ok((call.input(idx)?, call.sizes(idx))));
        let operands = operands.collect::<Result<Vec<Operand>, Refusal>>()?;
        let kernel = Kernel::new("elementwise_chain", &apply);
        Ok(Dispatch::one(pointwise(kernel, &operands, y, call.caps)))
    }
}
