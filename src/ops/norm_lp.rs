//! `LpNormalization`: `y = x / norm(x)` along an axis, with the 1-norm or the 2-norm; rows of norm 0
//! stay 0.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Kernel, Refusal, grid};
use crate::tensor::Fact;

pub const DEFS: &[OpDef] = &[rules::onnx(
    "LpNormalization",
    parse,
    &[
        "input x: f32[n, 3]\n y = LpNormalization(x) {axis = 0, p = 1}\n output y: f32[n, 3]",
        "input x: f32[70, 5]\n y = LpNormalization(x)\n output y: f32[70, 5]",
        "input x: f16[3, 70, 2]\n y = LpNormalization(x) {axis = 1}\n output y: f16[3, 70, 2]",
    ],
)];

struct LpNormalization {
    axis: i64,
    p: i64,
}

fn parse(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(LpNormalization {
        axis: attrs.int("axis").unwrap_or(-1),
        p: attrs.int("p").unwrap_or(2),
    }))
}

impl Op for LpNormalization {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        if let Some(shape) = &x.shape {
            check::min_rank("x", shape, 1)?;
            rules::axis_in(shape.rank(), self.axis)?;
        }
        Ok(vec![rules::fact(x.dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (part, norm) = match self.p {
            1 => ("abs(x)", "sum"),
            2 => ("x * x", "sqrt(sum)"),
            _ => return Err("p is neither 1 nor 2".into()),
        };
        let sizes = call.sizes(0);
        let axis = rules::axis_in(sizes.len(), self.axis).expect("infer has accepted the axis");
        let inner: usize = sizes[axis + 1..].iter().product();
        let rows = sizes[..axis].iter().product::<usize>() * inner;
        let launch = Kernel::new("norm_lp", include_str!("norm_lp.wgsl"))
            .param("rows", rows)
            .param("cols", sizes[axis])
            .param("inner", inner)
            .snippet(&format!(
                "fn part(x: f32) -> f32 {{ return {part}; }}
fn norm(sum: f32) -> f32 {{ return {norm}; }}"
            ))
            .read("x", call.input(0)?)
            .write("y", call.output(0)?)
            .launch(grid(rows.div_ceil(64), call.caps));
        Ok(Dispatch::one(launch))
    }
}
