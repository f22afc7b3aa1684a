//! `Softmax`: `y = exp(x - max) / sum(exp(x - max))` along an axis, `LogSoftmax`: its logarithm,
//! `Hardmax`: 1 at the first maximum and 0 elsewhere.
//!
//! Before version 13 the axis splits the shape in two and the rule runs over all that follows it.

use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Refusal, grid};
use crate::tensor::{Fact, Shape};

pub const DEFS: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "Softmax",
        parse: |attrs, version| parse(attrs, version, Kind::Softmax),
        cases: &[
            "input x: f32[2, n]\n y = Softmax(x)\n output y: f32[2, n]",
            "input x: f16[2, 3, 4]\n y = Softmax(x) {axis = 1}\n output y: f16[2, 3, 4]",
        ],
    },
    OpDef {
        domain: "",
        name: "LogSoftmax",
        parse: |attrs, version| parse(attrs, version, Kind::Log),
        cases: &["input x: f32[0, 3]\n y = LogSoftmax(x)\n output y: f32[0, 3]"],
    },
    OpDef {
        domain: "",
        name: "Hardmax",
        parse: |attrs, version| parse(attrs, version, Kind::Hard),
        cases: &[
            "input x: f32[2, 3]\n y = Hardmax(x) {axis = 0}\n output y: f32[2, 3]",
            "input x: f32[2, 70]\n y = Hardmax(x)\n output y: f32[2, 70]",
        ],
    },
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Softmax,
    Log,
    Hard,
}

struct Softmax {
    kind: Kind,
    axis: i64,
    /// The rule runs over the axis and all that follow it.
    flattens: bool,
}

fn parse(attrs: &Attrs, version: i64, kind: Kind) -> Result<Box<dyn Op>> {
    let flattens = version < 13;
    let default = if flattens { 1 } else { -1 };
    Ok(Box::new(Softmax {
        kind,
        axis: attrs.int("axis").unwrap_or(default),
        flattens,
    }))
}

impl Op for Softmax {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = inputs.need(0)?;
        if let Some(shape) = &x.shape
            && shape.rank() > 0
            && shape.axis(self.axis).is_none()
        {
            let why = format!("axis {} is outside {shape}", self.axis);
            return Err(Error::shape("", why));
        }
        Ok(vec![Fact {
            value: None,
            ..x.clone()
        }])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let share = match self.kind {
            Kind::Softmax => "exp(d) / sum",
            Kind::Log => "d - log(sum)",
            Kind::Hard => "",
        };
        let share = format!("fn share(d: f32, sum: f32) -> f32 {{ return {share}; }}");
        let sizes = call.sizes(0);
        let axis = Shape::unknown(sizes.len()).axis(self.axis).unwrap_or(0);
        let end = if self.flattens {
            sizes.len()
        } else {
            (axis + 1).min(sizes.len())
        };
        let outer: usize = sizes[..axis].iter().product();
        let cols: usize = sizes[axis..end].iter().product();
        let inner: usize = sizes[end..].iter().product();
        let (x, y) = (call.input(0)?, call.output(0)?);
        if self.kind == Kind::Hard {
            let launch = Kernel::new("hardmax", include_str!("hardmax.wgsl"))
                .param("rows", outer * inner)
                .param("cols", cols)
                .param("inner", inner)
                .read("x", x)
                .write("y", y)
                .launch(grid((outer * inner).div_ceil(64), call.caps));
            return Ok(Dispatch::one(launch));
        }

        // One workgroup per row pays where rows are long and neighbours lie side by side; a CPU
        // that plays GPU pays for every barrier.
        let launch = if call.caps.software || inner > 1 || cols < 32 {
            Kernel::new("softmax_lane", include_str!("softmax_lane.wgsl"))
                .param("rows", outer * inner)
                .param("cols", cols)
                .param("inner", inner)
                .snippet(&share)
                .read("x", x)
                .write("y", y)
                .launch(grid((outer * inner).div_ceil(64), call.caps))
        } else {
            Kernel::new("softmax_group", include_str!("softmax_group.wgsl"))
                .param("rows", outer)
                .param("cols", cols)
                .constant("WORKGROUP", 64)
                .snippet(include_str!("../wgsl/reduce.wgsl"))
                .snippet(&share)
                .read("x", x)
                .write("y", y)
                .launch(grid(outer, call.caps))
        };
        Ok(Dispatch::one(launch))
    }
}
