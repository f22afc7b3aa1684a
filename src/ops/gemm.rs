//! `Gemm`: `y = alpha * op(a) op(b) + beta * c` on matrices, where `op` may transpose, and the
//! same over quantised elements.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
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
        ],
    ),
    check::microsoft(
        "FusedGemm",
        gemm,
        &[
            "opset com.microsoft 1\n input a: f32[n, 3]\n input b: f32[3, 4]
             y = com.microsoft::FusedGemm(a, b) {activation = \"Relu\"}
             output y: f32[n, 4]",
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
    dtype: fn(&Inputs) -> Result<Option<DType>>,
}

fn gemm(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Gemm {
        transpose_a: check::flag(attrs, "transA"),
        transpose_b: check::flag(attrs, "transB"),
        b_idx: 1,
        c_idx: 2,
        dtype: |inputs| rules::same_dtype(inputs, [0, 1, 2]),
    }))
}

fn qgemm(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(Gemm {
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
}

fn matrix(what: &str, shape: Option<&Shape>, transpose: bool) -> Result<[Dim; 2]> {
    let mut dims = [Dim::Unknown, Dim::Unknown];
    check::meet_shape(what, shape, &mut dims)?;
    if transpose {
        dims.swap(0, 1);
    }
    Ok(dims)
}
