//! `Softmax`: `y = exp(x - max) / sum(exp(x - max))` along an axis, `LogSoftmax`: its logarithm,
//! `Hardmax`: 1 at the first maximum and 0 elsewhere.
//!
//! Before version 13 the axis splits the shape in two and the rule runs over all that follows it.

use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::Fact;

pub const DEFS: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "Softmax",
        parse,
        cases: &[
            "input x: f32[2, n]\n y = Softmax(x)\n output y: f32[2, n]",
            "input x: f16[2, 3, 4]\n y = Softmax(x) {axis = 1}\n output y: f16[2, 3, 4]",
        ],
    },
    OpDef {
        domain: "",
        name: "LogSoftmax",
        parse,
        cases: &["input x: f32[0, 3]\n y = LogSoftmax(x)\n output y: f32[0, 3]"],
    },
    OpDef {
        domain: "",
        name: "Hardmax",
        parse,
        cases: &["input x: f32[2, 3]\n y = Hardmax(x) {axis = 0}\n output y: f32[2, 3]"],
    },
];

struct Softmax {
    axis: i64,
}

fn parse(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let default = if version < 13 { 1 } else { -1 };
    let axis = attrs.int("axis").unwrap_or(default);
    Ok(Box::new(Softmax { axis }))
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
}
