//! `Pow`: `z[i] = x[i] ^ y[i]` in the type of x, with broadcasting.

use super::pointwise::{pointwise, pointwise_single};
use super::rules::onnx;
use super::{Inputs, Op, OpDef, binary};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Kernel, Refusal};
use crate::tensor::{DType, Fact};

pub const DEFS: &[OpDef] = &[onnx(
    "Pow",
    |_, version| {
        Ok(Box::new(Pow {
            rule: binary::power_rule(version)?,
        }))
    },
    &[
        "input x: f32[]\n const y: f32[1] = [3.0]\n z = Pow(x, y)\n output z: f32[1]",
        "input x: f32[n, 3]\n input y: i64[]\n z = Pow(x, y)\n output z: f32[n, 3]",
        "opset 7\n input x: f32[2, 1]\n input y: f32[3]\n z = Pow(x, y)\n output z: f32[2, 3]",
        "input x: f32[n, 5]\n const y: f32[] = [-2.0]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [-1.0]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [-0.5]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [0.0]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [0.5]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [1.0]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [1.5]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [2.0]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [3.0]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [4.0]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 5]\n const y: f32[] = [2.5]\n z = Pow(x, y)\n output z: f32[n, 5]",
        "input x: f32[n, 7]\n const y: f32[7] = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 0.5]\n z = Pow(x, y)\n output z: f32[n, 7]",
        "input x: i64[n, 6]\n const y: i64[6] = [0, 1, 2, 3, 7, 20]\n z = Pow(x, y)\n output z: i64[n, 6]",
        "input x: i32[n, 2]\n const y: i32[] = [2]\n z = Pow(x, y)\n output z: i32[n, 2]",
        "input x: i32[n, 3]\n const y: f32[3] = [0.0, 2.0, 3.0]\n z = Pow(x, y)\n output z: i32[n, 3]",
    ],
)];

struct Pow {
    /// What infers facts.
    rule: Box<dyn Op>,
}

impl Op for Pow {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        self.rule.infer(inputs)
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y, z) = (call.input(0)?, call.input(1)?, call.output(0)?);
        let z = (z, call.output_sizes(0));
        let x_operand = (x, call.sizes(0));
        let is_float = x.storage.is_float();
        if let Some(expression) = exponent(call).and_then(|power| formula(power, is_float)) {
            let apply = format!("fn apply(x: in0) -> out {{ return {expression}; }}");
            let kernel = Kernel::new("power", &apply);
            return Ok(Dispatch::one(pointwise(kernel, &[x_operand], z, call.caps)));
        }
        let operands = [x_operand, (y, call.sizes(1))];
        if is_float {
            let functions = include_str!("pow.wgsl");
            let apply = "fn apply(x: in0, y: in1) -> out { return pow_of(x, in0(y)); }";
            let kernel = Kernel::new("pow", &format!("{functions}{apply}"));
            return Ok(Dispatch::one(pointwise(kernel, &operands, z, call.caps)));
        }
        if matches!(call.input_dtype(1), Some(DType::U32 | DType::U64)) {
            return Err("no kernel for exponents of its type".into());
        }
        let apply = if y.storage.is_float() {
            "fn apply(x: in0, y: in1) -> out { return pow_real(x, y); }"
        } else {
            "fn apply(x: in0, y: in1) -> out { return pow_int(x, i32(y)); }"
        };
        let functions = include_str!("pow_int.wgsl");
        let kernel = Kernel::new("pow_int", &format!("{functions}{apply}"))
            .constant("IS_SIGNED", usize::from(x.storage.value() == "i32"));
        let launch = pointwise_single(kernel, &operands, z, call.caps);
        Ok(Dispatch::one(launch))
    }
}

/// The exponent where it is one constant number.
fn exponent(call: &Call) -> Option<f64> {
    let y = call.constant(1).filter(|y| y.len() == 1)?;
    match y.to_f64s() {
        Some(exponents) => exponents.first().copied(),
        None => y.to_i64s()?.first().map(|&power| power as f64),
    }
}

/// Common powers, more exact and faster than logarithms.
fn formula(power: f64, is_float: bool) -> Option<&'static str> {
    let either = [
        (0.0, "in0(1)"),
        (1.0, "x"),
        (2.0, "x * x"),
        (3.0, "x * x * x"),
        (4.0, "(x * x) * (x * x)"),
    ];
    let floats = [
        (-2.0, "1.0 / (x * x)"),
        (-1.0, "1.0 / x"),
        (-0.5, "1.0 / sqrt(x)"),
        (0.5, "sqrt(x)"),
        (1.5, "x * sqrt(x)"),
    ];
    let n_floats = if is_float { floats.len() } else { 0 };
    let mut all = either.into_iter().chain(floats.into_iter().take(n_floats));
    all.find_map(|(known, text)| (known == power).then_some(text))
}
