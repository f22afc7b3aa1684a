//! Losses of classifiers: the negative logarithm of the target's probability, from logarithms or
//! from scores.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "NegativeLogLikelihoodLoss",
        parse,
        &[
            "input x: f32[n, 5, d]\n input t: i64[n, d]\n y = NegativeLogLikelihoodLoss(x, t)\n output y: f32[]",
            "input x: f32[?, 5, 6]\n input t: i64[3, 6]\n input w: f32[5]
             y = NegativeLogLikelihoodLoss(x, t, w) {reduction = \"none\"}\n output y: f32[3, 6]",
        ],
    ),
    rules::onnx(
        "SoftmaxCrossEntropyLoss",
        parse,
        &["input x: f32[n, 5]\n input t: i32[n]
             y, p = SoftmaxCrossEntropyLoss(x, t) {reduction = \"sum\"}
             output y: f32[]\n output p: f32[n, 5]"],
    ),
];

struct Loss {
    /// True where every element keeps its own loss.
    per_element: bool,
}

fn parse(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let per_element = match attrs.str("reduction") {
        Some("none") => true,
        None | Some("mean" | "sum") => false,
        Some(other) => return Err(Error::parse("", format!("reduction is {other:?}"))),
    };
    Ok(Box::new(Loss { per_element }))
}

impl Op for Loss {
    /// x: [n, c, d..], target: [n, d..], weight: [c] -> [n, d..] or [], and probabilities like x.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let target = rules::tensor(inputs, 1)?;
        rules::expect_index(inputs, 1)?;
        let dtype = rules::same_dtype(inputs, [0, 2])?;
        let mut targets = target.shape.clone();
        if let Some(x) = &x.shape {
            check::min_rank("x", x, 2)?;
            let mut expected: Vec<Dim> = x.0.clone();
            let classes = expected.remove(1);
            check::meet_shape("target", target.shape.as_ref(), &mut expected)?;
            check::meet_shape("weight", inputs.shape(2), &mut [classes])?;
            targets = Some(Shape(expected));
        }
        let shape = if self.per_element {
            targets
        } else {
            Some(Shape::scalar())
        };
        Ok(vec![
            rules::fact(dtype, shape),
            rules::fact(dtype, x.shape.clone()),
        ])
    }
}
