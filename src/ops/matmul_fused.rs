//! `sentinel::FusedMatMul`, which passes make of a product and what follows it:
//! `y = activation(alpha * op(a) op(b) + bias + residual)`, where `op` may transpose.

use super::product::{Added, Layout, Matrix, Product};
use super::{Attrs, Inputs, Op, OpDef, check, matmul, rules};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[OpDef {
    domain: "sentinel",
    name: "FusedMatMul",
    parse,
    cases: &[
        "input a: f32[n, 3, 8]\n input b: f32[8, 12]\n input c: f32[12]\n input r: f32[n, 3, 12]
         y = sentinel::FusedMatMul(a, b, c, r) {activation = \"Relu\"}\n output y: f32[n, 3, 12]",
        "input a: f32[2, 9, 70]\n input b: f32[2, 7, 9]
         y = sentinel::FusedMatMul(a, b) {trans_a = 1, trans_b = 1, alpha = 0.5}\n output y: f32[2, 70, 7]",
        "input a: f32[1, 70]\n input b: f32[70, 33]\n input c: f32[33]
         y = sentinel::FusedMatMul(a, b, c) {activation = \"Gelu\"}\n output y: f32[1, 33]",
        "input a: f16[5, 16]\n input b: f16[16, 8]\n input r: f16[5, 8]
         y = sentinel::FusedMatMul(a, b, _, r) {activation = \"LeakyRelu\", activation_params = [0.25]}
         output y: f16[5, 8]",
        "input a: f32[70, 16]\n input b: f32[16]\n input r: f32[70]
         y = sentinel::FusedMatMul(a, b, _, r) {activation = \"Tanh\"}\n output y: f32[70]",
        "input a: f32[6, 35]\n input b: f32[35, 66]\n input c: f32[66]\n input r: f32[6, 66]
         y = sentinel::FusedMatMul(a, b, c, r) {activation = \"Clip\", activation_params = [-0.5, 1.5]}
         output y: f32[6, 66]",
    ],
}];

struct FusedMatMul {
    transpose_a: bool,
    transpose_b: bool,
    alpha: f32,
    activation: String,
    activation_params: Vec<f32>,
}

fn parse(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let params = attrs.floats("activation_params").unwrap_or_default();
    Ok(Box::new(FusedMatMul {
        transpose_a: check::flag(attrs, "trans_a"),
        transpose_b: check::flag(attrs, "trans_b"),
        alpha: attrs.float("alpha").unwrap_or(1.0),
        activation: attrs.str("activation").unwrap_or_default().to_owned(),
        activation_params: params.to_vec(),
    }))
}

impl Op for FusedMatMul {
    /// a: [.., m, k] or [k], b: [.., k, n] or [k], each after its transposition, bias: [n],
    /// residual: [.., m, n] -> [.., m, n].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let a = rules::tensor(inputs, 0)?;
        let b = rules::tensor(inputs, 1)?;
        let dtype = rules::same_dtype(inputs, 0..4)?;
        let (Some(a), Some(b)) = (&a.shape, &b.shape) else {
            return Ok(vec![rules::fact(dtype, None)]);
        };
        let turned = |shape: &Shape, transpose: bool| {
            let mut dims = shape.0.clone();
            let rank = dims.len();
            if transpose && rank >= 2 {
                dims.swap(rank - 2, rank - 1);
            }
            Shape(dims)
        };
        let (a, b) = (turned(a, self.transpose_a), turned(b, self.transpose_b));
        let mut shape = matmul::shape(&a, &b)?;
        let n_columns = match b.rank() {
            1 => Dim::Size(1),
            rank => b[rank - 1].clone(),
        };
        check::meet_shape("bias", inputs.shape(2), &mut [n_columns])?;
        check::meet_shape("residual", inputs.shape(3), &mut shape.0)?;
        Ok(vec![rules::fact(dtype, Some(shape))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let layout = |idx: usize, transpose: bool| {
            let mut layout = Layout::dense(&call.sizes(idx));
            if layout.sizes.len() == 1 {
                layout.expand_vector(idx == 0);
            } else if transpose {
                layout.transpose();
            }
            layout
        };
        let (a, b) = (layout(0, self.transpose_a), layout(1, self.transpose_b));
        let y = call.output(0)?;
        if !y.storage.is_float() {
            return Err("only floats are fused".into());
        }
        let mut product = Product::new((call.input(0)?, &a), (call.input(1)?, &b), y);
        product.alpha = self.alpha;
        if call.has_input(2) {
            product.added = Some(Added {
                matrix: Matrix {
                    port: call.input(2)?,
                    row_stride: 0,
                    col_stride: 1,
                },
                factor: 1.0,
            });
        }
        if call.has_input(3) {
            product.residual = Some(call.input(3)?);
        }
        product.activate(&self.activation, &self.activation_params)?;
        Ok(product.dispatch(call))
    }
}
