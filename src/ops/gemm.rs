//! `Gemm`: `y = alpha * op(a) op(b) + beta * c` on matrices, where `op` may transpose, and the
//! same over quantised elements.

use super::product::{Added, Layout, Matrix, Product};
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal, dense_strides};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "Gemm",
        gemm,
        &[
            "input a: f32[k, n]\n input b: f32[10, k]\n input c: f32[10]
             y = Gemm(a, b, c) {transA = 1, transB = 1, alpha = 0.5}
             output y: f32[n, 10]",
            "input a: f32[2, 3]\n input b: f32[3, 4]\n y = Gemm(a, b)\n output y: f32[2, 4]",
            "opset 6\n input a: f32[0, 3]\n input b: f32[3, 4]\n input c: f32[4]
             y = Gemm(a, b, c) {broadcast = 1}
             output y: f32[0, 4]",
            "input a: f32[67, 12]\n input b: f32[72, 12]\n input c: f32[67, 1]
             y = Gemm(a, b, c) {transB = 1, beta = 0.25}\n output y: f32[67, 72]",
            "input a: f32[12, 67]\n input b: f32[12, 71]\n input c: f32[]
             y = Gemm(a, b, c) {transA = 1}\n output y: f32[67, 71]",
            "input a: f32[3, 12]\n input b: f32[12, 8]\n input c: f32[3, 8]
             y = Gemm(a, b, c) {alpha = -2.0}\n output y: f32[3, 8]",
            "input a: f16[1, 100]\n input b: f16[70, 100]\n input c: f16[1, 70]
             y = Gemm(a, b, c) {transB = 1}\n output y: f16[1, 70]",
        ],
    ),
    check::microsoft(
        "FusedGemm",
        fused_gemm,
        &[
            "opset com.microsoft 1\n input a: f32[n, 3]\n input b: f32[3, 4]
             y = com.microsoft::FusedGemm(a, b) {activation = \"Relu\"}
             output y: f32[n, 4]",
            "opset com.microsoft 1\n input a: f32[9, 3]\n input b: f32[3, 5]
             y = com.microsoft::FusedGemm(a, b) {activation = \"HardSigmoid\", activation_alpha = 0.3, activation_beta = 0.1}
             output y: f32[9, 5]",
        ],
    ),
    check::microsoft(
        "QGemm",
        qgemm,
        &[
            "opset com.microsoft 1\n input a: u8[n, 3]\n input s: f32[]\n input z: u8[]
             input b: i8[4, 3]\n input bs: f32[4]\n input bz: i8[4]\n input c: i32[4]
             y = com.microsoft::QGemm(a, s, z, b, bs, bz, c, s, z) {transB = 1}
             output y: u8[n, 4]",
            "opset com.microsoft 1\n input a: u8[n, 3]\n input s: f32[]\n input z: u8[]
             y = com.microsoft::QGemm(a, s, z, a, s, z) {transA = 1}
             output y: f32[3, 3]",
        ],
    ),
];

struct Gemm {
    transpose_a: bool,
    transpose_b: bool,
    b_idx: usize,
    c_idx: usize,
    alpha: f32,
    beta: f32,
    activation: (String, Vec<f32>),
    /// Why there is no kernel.
    refusal: Option<&'static str>,
    dtype: fn(&Inputs) -> Result<Option<DType>>,
}

fn gemm(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(float_gemm(attrs)))
}

fn fused_gemm(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Gemm {
        activation: (
            attrs.str("activation").unwrap_or_default().to_owned(),
            ["activation_alpha", "activation_beta"]
                .into_iter()
                .filter_map(|name| attrs.float(name))
                .collect(),
        ),
        ..float_gemm(attrs)
    }))
}

fn float_gemm(attrs: &Attrs) -> Gemm {
    Gemm {
        alpha: attrs.float("alpha").unwrap_or(1.0),
        beta: attrs.float("beta").unwrap_or(1.0),
        activation: Default::default(),
        refusal: None,
        transpose_a: check::flag(attrs, "transA"),
        transpose_b: check::flag(attrs, "transB"),
        b_idx: 1,
        c_idx: 2,
        dtype: |inputs| rules::same_dtype(inputs, [0, 1, 2]),
    }
}

fn qgemm(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Gemm {
        alpha: 1.0,
        beta: 1.0,
        activation: Default::default(),
        refusal: Some("scaled integers have no kernel"),
        transpose_a: check::flag(attrs, "transA"),
        transpose_b: check::flag(attrs, "transB"),
        b_idx: 3,
        c_idx: 6,
        dtype: |inputs| {
            rules::same_dtype(inputs, [0, 2])?;
            rules::same_dtype(inputs, [3, 5])?;
            // Without a zero point for y the result is not quantised again.
            Ok(inputs
                .get(8)
                .map_or(Some(DType::F32), |zero_point| zero_point.dtype))
        },
    }))
}

impl Op for Gemm {
    /// a: [m, k], b: [k, n], each after its transposition, c: stretched to [m, n] -> [m, n].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let a = rules::tensor(inputs, 0)?;
        let b = rules::tensor(inputs, self.b_idx)?;
        let dtype = (self.dtype)(inputs)?;
        let [rows, inner_a] = matrix("a", a.shape.as_ref(), self.transpose_a)?;
        let [inner_b, columns] = matrix("b", b.shape.as_ref(), self.transpose_b)?;
        if rules::unify(&inner_a, &inner_b).is_none() {
            let why = format!("inner sizes differ: [{rows}, {inner_a}] x [{inner_b}, {columns}]");
            return Err(Error::shape("", why));
        }
        let shape = Shape(vec![rows, columns]);
        if let Some(c) = inputs.shape(self.c_idx) {
            check::broadcasts_to("c", c, &shape)?;
        }
        Ok(vec![rules::fact(dtype, Some(shape))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal.into());
        }
        let mut a = Layout::dense(&call.sizes(0));
        let mut b = Layout::dense(&call.sizes(1));
        if self.transpose_a {
            a.transpose();
        }
        if self.transpose_b {
            b.transpose();
        }
        let y = call.output(0)?;
        if !y.storage.is_float() && (self.alpha != 1.0 || self.beta != 1.0) {
            return Err("integers have no kernel with factors".into());
        }
        let mut product = Product::new((call.input(0)?, &a), (call.input(1)?, &b), y);
        product.alpha = self.alpha;
        if call.has_input(2) {
            product.added = Some(Added {
                matrix: stretched(call, 2)?,
                factor: self.beta,
            });
        }
        let (activation, params) = &self.activation;
        product.activate(activation, params)?;
        Ok(product.dispatch(call))
    }
}

/// An input stretched to a matrix.
fn stretched(call: &Call, idx: usize) -> Result<Matrix, Refusal> {
    let own = call.sizes(idx);
    let dense = dense_strides(&own);
    let stride = |from_last: usize| {
        let axis = own.len().checked_sub(from_last + 1)?;
        (own[axis] != 1).then_some(dense[axis])
    };
    Ok(Matrix {
        port: call.input(idx)?,
        row_stride: stride(1).unwrap_or(0),
        col_stride: stride(0).unwrap_or(0),
    })
}

fn matrix(what: &str, shape: Option<&Shape>, transpose: bool) -> Result<[Dim; 2]> {
    let mut dims = [Dim::Unknown, Dim::Unknown];
    check::meet_shape(what, shape, &mut dims)?;
    if transpose {
        dims.swap(0, 1);
    }
    Ok(dims)
}
