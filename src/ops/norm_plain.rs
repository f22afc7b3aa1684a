//! Normalisation without parameters: by mean and variance, or over neighbouring channels. The
//! shape stays.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::Result;
use crate::tensor::Fact;

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "MeanVarianceNormalization",
        mean_variance,
        &[
            "input x: f32[1, 3, h, w]\n y = MeanVarianceNormalization(x)\n output y: f32[1, 3, h, w]",
            "input x: f32[2, 3]\n y = MeanVarianceNormalization(x) {axes = [-1]}\n output y: f32[2, 3]",
        ],
    ),
    rules::onnx(
        "LRN",
        lrn,
        &[
            "opset 1\n input x: f32[n, 16, 5, 5]\n y = LRN(x) {size = 3}\n output y: f32[n, 16, 5, 5]",
        ],
    ),
];

/// `y` has the shape and type of `x`, which must have the axes.
struct Plain {
    axes: Vec<i64>,
    min_rank: usize,
}

fn mean_variance(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Plain {
        axes: attrs.ints("axes").unwrap_or(&[0, 2, 3]).to_vec(),
        min_rank: 0,
    }))
}

fn lrn(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    rules::required(check::count(attrs, "size", 1)?, "size")?;
    Ok(Box::new(Plain {
        axes: Vec::new(),
        min_rank: 2,
    }))
}

impl Op for Plain {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        if let Some(shape) = &x.shape {
            check::min_rank("x", shape, self.min_rank)?;
            rules::axes_in(shape.rank(), &self.axes)?;
        }
        Ok(vec![rules::fact(x.dtype, x.shape.clone())])
    }
}
