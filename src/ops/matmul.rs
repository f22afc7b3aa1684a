//! Matrix products: `y[.., i, j] = sum_k a[.., i, k] * b[.., k, j]`, with leading axes broadcast,
//! also over quantised elements.

use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::tensor::{DType, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    rules::onnx(
        "MatMul",
        matmul,
        &[
            "input a: f32[n, 1, 2, k]\n input b: f32[8, k, m]\n y = MatMul(a, b)\n output y: f32[n, 8, 2, m]",
            "input a: i64[3]\n input b: i64[3, 4]\n y = MatMul(a, b)\n output y: i64[4]",
            "input a: f16[2, 3]\n input b: f16[3]\n y = MatMul(a, b)\n output y: f16[2]",
            "input a: f32[3]\n input b: f32[3]\n y = MatMul(a, b)\n output y: f32[]",
            "opset 1\n input a: f32[2, 0]\n input b: f32[0, 5]\n y = MatMul(a, b)\n output y: f32[2, 5]",
        ],
    ),
    rules::onnx(
        "MatMulInteger",
        matmul_integer,
        &[
            "input a: u8[n, 4, 3]\n input b: i8[3, 2]\n input za: u8[]
           y = MatMulInteger(a, b, za)\n output y: i32[n, 4, 2]",
        ],
    ),
    rules::onnx(
        "QLinearMatMul",
        qlinear_matmul,
        &[
            "input a: u8[2, 4]\n input as: f32[]\n input az: u8[]
           input b: i8[4, 3]\n input bs: f32[3]\n input bz: i8[3]
           input ys: f32[]\n input yz: u8[]
           y = QLinearMatMul(a, as, az, b, bs, bz, ys, yz)\n output y: u8[2, 3]",
        ],
    ),
    check::microsoft(
        "FusedMatMul",
        fused_matmul,
        &[
            "opset com.microsoft 1\n input a: f32[b, k, 5]\n input b: f32[b, 7, k]
             y = com.microsoft::FusedMatMul(a, b) {transA = 1, transB = 1, alpha = 0.5}
             output y: f32[b, 5, 7]",
            "opset com.microsoft 1\n input a: f32[5, 2, 3]\n input b: f32[2, 3, 4]
             y = com.microsoft::FusedMatMul(a, b) {transBatchA = 1}
             output y: f32[2, 5, 4]",
        ],
    ),
    check::microsoft(
        "MatMulIntegerToFloat",
        matmul_integer_to_float,
        &[
            "opset com.microsoft 1\n input a: u8[n, 4]\n input b: i8[4, 3]
           input as: f32[]\n input bs: f32[3]
           y = com.microsoft::MatMulIntegerToFloat(a, b, as, bs)\n output y: f32[n, 3]",
        ],
    ),
    check::microsoft(
        "DynamicQuantizeMatMul",
        dynamic_quantize_matmul,
        &[
            "opset com.microsoft 1\n input a: f32[n, 4]\n input b: i8[4, 3]\n input bs: f32[3]
           y = com.microsoft::DynamicQuantizeMatMul(a, b, bs)\n output y: f32[n, 3]",
        ],
    ),
    check::microsoft(
        "MatMulNBits",
        matmul_nbits,
        &[
            "opset com.microsoft 1\n input a: f32[b, s, 40]\n input q: u8[24, 3, 8]\n input c: f32[72]
           y = com.microsoft::MatMulNBits(a, q, c) {K = 40, N = 24, bits = 4, block_size = 16}
           output y: f32[b, s, 24]",
            "opset com.microsoft 1\n input a: f16\n input q: u8[8, 1, 32]\n input c: f16[8]
           y = com.microsoft::MatMulNBits(a, q, c) {K = 32, N = 8, bits = 8, block_size = 32}
           output y: f16",
        ],
    ),
];

/// Which inputs are the matrices, how they are turned first, and what type comes out.
struct MatMul {
    b_idx: usize,
    turn_a: Turn,
    turn_b: Turn,
    dtype: fn(&Inputs) -> Result<Option<DType>>,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    /// [.., m, k] -> [.., k, m], after `batch`.
    transpose: bool,
    /// [m, .., k] -> [.., m, k].
    batch: bool,
}

fn product(b_idx: usize, dtype: fn(&Inputs) -> Result<Option<DType>>) -> Result<Box<dyn Op>> {
    Ok(Box::new(MatMul {
        b_idx,
        turn_a: Turn::default(),
        turn_b: Turn::default(),
        dtype,
    }))
}

fn matmul(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(1, |inputs| rules::same_dtype(inputs, [0, 1]))
}

fn matmul_integer(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(1, |inputs| {
        rules::same_dtype(inputs, [0, 2])?;
        rules::same_dtype(inputs, [1, 3])?;
        Ok(Some(DType::I32))
    })
}

fn qlinear_matmul(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(3, |inputs| {
        rules::same_dtype(inputs, [0, 2])?;
        rules::same_dtype(inputs, [3, 5])?;
        Ok(rules::tensor(inputs, 7)?.dtype)
    })
}

fn matmul_integer_to_float(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(1, |inputs| {
        rules::same_dtype(inputs, [0, 4])?;
        rules::same_dtype(inputs, [1, 5])?;
        rules::same_dtype(inputs, [2, 3, 6])
    })
}

fn dynamic_quantize_matmul(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(1, |inputs| {
        rules::same_dtype(inputs, [1, 3])?;
        rules::same_dtype(inputs, [0, 2, 4])
    })
}

fn fused_matmul(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let turn = |transpose, batch| Turn {
        transpose: check::flag(attrs, transpose),
        batch: check::flag(attrs, batch),
    };
    Ok(Box::new(MatMul {
        b_idx: 1,
        turn_a: turn("transA", "transBatchA"),
        turn_b: turn("transB", "transBatchB"),
        dtype: |inputs| rules::same_dtype(inputs, [0, 1]),
    }))
}

impl Op for MatMul {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let a = rules::tensor(inputs, 0)?;
        let b = rules::tensor(inputs, self.b_idx)?;
        let dtype = (self.dtype)(inputs)?;
        let shape = match (&a.shape, &b.shape) {
            (Some(a), Some(b)) => Some(shape(&self.turn_a.apply(a), &self.turn_b.apply(b))?),
            _ => None,
        };
        Ok(vec![rules::fact(dtype, shape)])
    }
}

impl Turn {
    /// Vectors stay as they are.
    fn apply(self, shape: &Shape) -> Shape {
        let mut dims = shape.0.clone();
        let rank = dims.len();
        if rank >= 2 {
            if self.batch {
                dims[..rank - 1].rotate_left(1);
            }
            if self.transpose {
                dims.swap(rank - 2, rank - 1);
            }
        }
        Shape(dims)
    }
}

/// a: [.., m, k] or [k], b: [.., k, n] or [k] -> [.., m, n] without the axis that a vector lacks.
///
/// # Errors
/// `SHAPE_MISMATCH` when the inner sizes differ or the leading axes do not broadcast.
fn shape(a: &Shape, b: &Shape) -> Result<Shape> {
    check::min_rank("a", a, 1)?;
    check::min_rank("b", b, 1)?;
    let (batch_a, matrix_a) = a.split_at(a.rank().saturating_sub(2));
    let (batch_b, matrix_b) = b.split_at(b.rank().saturating_sub(2));
    let (rows, inner_a) = match matrix_a {
        [m, k] => (Some(m), k),
        _ => (None, &matrix_a[0]),
    };
    let (inner_b, columns) = match matrix_b {
        [k, n] => (k, Some(n)),
        _ => (&matrix_b[0], None),
    };
    let differ = || Error::shape("", format!("inner sizes differ: {a} x {b}"));
    rules::unify(inner_a, inner_b).ok_or_else(differ)?;
    let mut shape = rules::broadcast(&Shape(batch_a.to_vec()), &Shape(batch_b.to_vec()))?;
    shape.0.extend(rows.into_iter().chain(columns).cloned());
    Ok(shape)
}

/// `b` is a matrix of `n` rows and `k` columns in blocks of `block_size` along the rows, each with
/// a scale and packed `bits` to an element.
struct MatMulNBits {
    k: i64,
    n: i64,
    bits: i64,
    block_size: i64,
}

fn matmul_nbits(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let required = |name| rules::required(check::count(attrs, name, 1)?, name);
    let bits = check::count(attrs, "bits", 1)?.unwrap_or(4);
    if bits > 8 {
        return Err(Error::parse(
            "",
            format!("attribute bits is {bits}, expected 8 or less"),
        ));
    }
    Ok(Box::new(MatMulNBits {
        k: required("K")?,
        n: required("N")?,
        bits,
        block_size: required("block_size")?,
    }))
}

impl Op for MatMulNBits {
    /// a: [.., k], b: [n, k / block_size, block_size * bits / 8], scales: [n * k / block_size] -> [.., n].
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let a = rules::tensor(inputs, 0)?;
        rules::tensor(inputs, 2)?;
        let dtype = rules::same_dtype(inputs, [0, 2, 5])?;
        let n_blocks = (self.k + self.block_size - 1) / self.block_size;
        let blob = (self.block_size * self.bits + 7) / 8;
        if let Some(b) = &rules::tensor(inputs, 1)?.shape {
            let mut expected = [self.n.into(), n_blocks.into(), blob.into()];
            check::meet_shape("b", Some(b), &mut expected)?;
        }
        if let Some(scales) = inputs.shape(2)
            && let Some(count) = scales.elements().value()
            && count != self.n * n_blocks
        {
            let why = format!("scales {scales}, expected {} of {n_blocks} blocks", self.n);
            return Err(Error::shape("", why));
        }
        check::meet_shape("bias", inputs.shape(5), &mut [self.n.into()])?;
        let mut shape = a.shape.clone();
        if let Some(shape) = &mut shape {
            check::min_rank("a", shape, 1)?;
            let last = shape.rank() - 1;
            check::meet("last axis of a and K", &shape[last], &self.k.into())?;
            shape.0[last] = self.n.into();
        }
        Ok(vec![rules::fact(dtype, shape)])
    }
}
