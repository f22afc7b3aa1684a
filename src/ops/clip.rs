//! `Clip`: `y[i] = min(max(x[i], low), high)`.

use super::pointwise::pointwise;
use super::rules::{expect_dtype, is_number, onnx, same_dtype, tensor, with_value};
use super::{Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Refusal, Storage};
use crate::tensor::{Dim, Fact, Tensor};

pub const DEFS: &[OpDef] = &[onnx(
    "Clip",
    |_, _| Ok(Box::new(Clip)),
    &[
        "input x: f32[n, 3]\n const low: f32[] = [0.0]\n y = Clip(x, low)\n output y: f32[n, 3]",
        "input x: f32[n, 37]\n input low: f32[]\n const high: f32[] = [0.75]\n y = Clip(x, low, high)\n output y: f32[n, 37]",
        "input x: f16[n, 7]\n const high: f16[] = [0.5]\n y = Clip(x, _, high)\n output y: f16[n, 7]",
        "input x: i8[n, 7]\n const low: i8[] = [-3]\n const high: i8[] = [5]\n y = Clip(x, low, high)\n output y: i8[n, 7]",
        "input x: i64[n, 7]\n const low: i64[] = [-9223372036854775807]\n const high: i64[] = [1]\n y = Clip(x, low, high)\n output y: i64[n, 7]",
        "opset 6\n input x: f32[2]\n y = Clip(x) {min = 0.0, max = 6.0}\n output y: f32[2]",
        "const x: i64[2] = [-3, 9]\n const low: i64[] = [1]\n const high: i64[] = [4]\n y = Clip(x, low, high)\n z = ConstantOfShape(y)\n output z: f32[1, 4]",
    ],
)];

/// `min(max(x, low), high)`; the bounds are attributes before version 11, then scalar inputs.
struct Clip;

impl Op for Clip {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_dtype(inputs, 0, is_number, "a number type")?;
        let dtype = same_dtype(inputs, 0..3)?;
        for bound in 1..3 {
            if let Some(Dim::Size(n)) = inputs.shape(bound).map(|shape| shape.elements())
                && n != 1
            {
                let why = format!("bound in input {bound} has {n} elements, expected one");
                return Err(Error::shape("", why));
            }
        }
        let bound = |idx: usize| match inputs.get(idx) {
            None => Some(None),
            Some(_) => inputs
                .ints(idx)?
                .first()
                .map(|&bound| Some(Dim::Size(bound))),
        };
        let value = match (&x.value, bound(1), bound(2)) {
            (Some(elements), Some(low), Some(high)) => {
                let clip = |element: &Dim| {
                    let raised = low
                        .as_ref()
                        .map_or_else(|| element.clone(), |low| element.max(low));
                    high.as_ref()
                        .map_or_else(|| raised.clone(), |high| raised.min(high))
                };
                Some(elements.iter().map(clip).collect())
            }
            _ => None,
        };
        let y = Fact { dtype, ..x.clone() };
        Ok(vec![with_value(y, value)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y) = (call.input(0)?, call.output(0)?);
        let mut operands = vec![(x, call.sizes(0))];
        let (mut params, mut names) = (Vec::new(), "x: in0".to_owned());
        let mut expression = "x".to_owned();
        for (idx, name, function) in [(1, "low", "max"), (2, "high", "min")] {
            if !call.has_input(idx) {
                continue;
            }
            let bound = match call.constant(idx) {
                Some(bound) => {
                    let bound = word(bound, x.storage).ok_or("a bound is no number")?;
                    params.push((name, bound));
                    format!("in0(bitcast<{}>(params.{name}))", x.storage.value())
                }
                None => {
                    names.push_str(&format!(", {name}: in{}", operands.len()));
                    operands.push((call.input(idx)?, vec![]));
                    name.to_owned()
                }
            };
            expression = format!("{function}({expression}, {bound})");
        }
        let apply = format!("fn apply({names}) -> out {{ return {expression}; }}");
        let kernel = params.iter();
        let kernel = kernel.fold(Kernel::new("clip", &apply), |kernel, (name, word)| {
            kernel.param_i32(name, *word)
        });
        let y = (y, call.output_sizes(0));
        Ok(Dispatch::one(pointwise(kernel, &operands, y, call.caps)))
    }
}

/// A constant bound as the bits of an element of x. Integers beyond 32 bits bound nothing, and so
/// does the end of that range.
fn word(bound: &Tensor, storage: Storage) -> Option<i32> {
    if storage.is_float() {
        let bound = *bound.to_f64s()?.first()? as f32;
        return Some(bound.to_bits().cast_signed());
    }
    let bound = *bound.to_i64s()?.first()?;
    Some(match storage.value() {
        "u32" => (bound.clamp(0, u32::MAX.into()) as u32).cast_signed(),
        _ => bound.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
    })
}
