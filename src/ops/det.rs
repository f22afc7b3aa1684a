//! `Det`: the determinants of square matrices.

use super::{Inputs, Op, OpDef, check, rules};
use crate::error::Result;
use crate::tensor::Fact;

pub const DEFS: &[OpDef] = &[rules::onnx(
    "Det",
    |_, _| Ok(Box::new(Det)),
    &[
        "input x: f32[n, 3, 3]\n y = Det(x)\n output y: f32[n]",
        "input x: f64[2, 2]\n y = Det(x)\n output y: f64[]",
    ],
)];

struct Det;

impl Op for Det {
    /// x: [.., m, m] -> [..].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = rules::tensor(inputs, 0)?;
        let mut shape = x.shape.clone();
        if let Some(shape) = &mut shape {
            check::min_rank("x", shape, 2)?;
            let matrix = shape.0.split_off(shape.rank() - 2);
            check::meet("rows and columns of x", &matrix[0], &matrix[1])?;
        }
        Ok(vec![rules::fact(x.dtype, shape)])
    }
}
