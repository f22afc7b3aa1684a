//! Matrix products: `y[.., i, j] = sum_k a[.., i, k] * b[.., k, j]`, with leading axes broadcast,
//! also over quantised elements.

use super::product::{Layout, Product, Zero};
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Refusal};
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
            "input a: f32[m, 37]\n input b: f32[37, 65]\n y = MatMul(a, b)\n output y: f32[m, 65]",
            "input a: f32[3, 1, 66, 36]\n input b: f32[1, 2, 36, n]\n y = MatMul(a, b)\n output y: f32[3, 2, 66, n]",
            "input a: f32[2, 70, 16]\n input b: f32[16, 68]\n y = MatMul(a, b)\n output y: f32[2, 70, 68]",
            "input a: f32[1, 260]\n input b: f32[260, 132]\n y = MatMul(a, b)\n output y: f32[1, 132]",
            "input a: f32[5, 4, 9]\n input b: f32[9]\n y = MatMul(a, b)\n output y: f32[5, 4]",
            "input a: f32[9]\n input b: f32[5, 9, 3]\n y = MatMul(a, b)\n output y: f32[5, 3]",
            "input a: f16[70, 16]\n input b: f16[16, 8]\n y = MatMul(a, b)\n output y: f16[70, 8]",
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
    kind: Kind,
    b_idx: usize,
    turn_a: Turn,
    turn_b: Turn,
    alpha: f32,
    dtype: fn(&Inputs) -> Result<Option<DType>>,
}

/// What the elements are, as far as kernels go.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    /// Zero points are inputs 2 and 3.
    Integer,
    Scaled,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    /// [.., m, k] -> [.., k, m], after `batch`.
    transpose: bool,
    /// [m, .., k] -> [.., m, k].
    batch: bool,
}

fn product(
    kind: Kind,
    b_idx: usize,
    dtype: fn(&Inputs) -> Result<Option<DType>>,
) -> Result<Box<dyn Op>> {
    Ok(Box::new(MatMul {
        kind,
        b_idx,
        alpha: 1.0,
        turn_a: Turn::default(),
        turn_b: Turn::default(),
        dtype,
    }))
}

fn matmul(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(Kind::Plain, 1, |inputs| rules::same_dtype(inputs, [0, 1]))
}

fn matmul_integer(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(Kind::Integer, 1, |inputs| {
        rules::same_dtype(inputs, [0, 2])?;
        rules::same_dtype(inputs, [1, 3])?;
        Ok(Some(DType::I32))
    })
}

fn qlinear_matmul(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(Kind::Scaled, 3, |inputs| {
        rules::same_dtype(inputs, [0, 2])?;
        rules::same_dtype(inputs, [3, 5])?;
        Ok(rules::tensor(inputs, 7)?.dtype)
    })
}

fn matmul_integer_to_float(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(Kind::Scaled, 1, |inputs| {
        rules::same_dtype(inputs, [0, 4])?;
        rules::same_dtype(inputs, [1, 5])?;
        rules::same_dtype(inputs, [2, 3, 6])
    })
}

fn dynamic_quantize_matmul(_: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    product(Kind::Scaled, 1, |inputs| {
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
        kind: Kind::Plain,
        b_idx: 1,
        alpha: attrs.float("alpha").unwrap_or(1.0),
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

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if self.kind == Kind::Scaled {
            return Err("scaled integers have no kernel".into());
        }
        let mut a = self.turn_a.layout(&call.sizes(0));
        let mut b = self.turn_b.layout(&call.sizes(1));
        a.expand_vector(true);
        b.expand_vector(false);
        let ports = (call.input(0)?, call.input(1)?, call.output(0)?);
        let mut product = Product::new((ports.0, &a), (ports.1, &b), ports.2);
        product.alpha = self.alpha;
        if self.kind == Kind::Integer {
            product.zero_a = zero_point(call, 2, product.m)?;
            product.zero_b = zero_point(call, 3, product.n)?;
        }
        Ok(product.dispatch(call))
    }
}

/// One zero point for all, or one for each row or column.
fn zero_point(call: &Call, idx: usize, count: usize) -> Result<Option<Zero>, Refusal> {
    if !call.has_input(idx) {
        return Ok(None);
    }
    let port = call.input(idx)?;
    let stride = match call.sizes(idx).as_slice() {
        [] | [1] => 0,
        [n] if *n == count => 1,
        _ => return Err("zero points for each matrix of a batch have no kernel".into()),
    };
    Ok(Some(Zero { port, stride }))
}

impl Turn {
    /// Vectors stay as they are.
    fn apply(self, shape: &Shape) -> Shape {
        let mut dims = shape.0.clone();
        self.turn(&mut dims);
        Shape(dims)
    }

    fn layout(self, sizes: &[usize]) -> Layout {
        let mut layout = Layout::dense(sizes);
        self.turn(&mut layout.sizes);
        self.turn(&mut layout.strides);
        layout
    }

    fn turn<T>(self, axes: &mut [T]) {
        let rank = axes.len();
        if rank >= 2 {
            if self.batch {
                axes[..rank - 1].rotate_left(1);
            }
            if self.transpose {
                axes.swap(rank - 2, rank - 1);
            }
        }
    }
}

/// a: [.., m, k] or [k], b: [.., k, n] or [k] -> [.., m, n] without the axis that a vector lacks.
///
/// # Errors
/// `SHAPE_MISMATCH` when the inner sizes differ or the leading axes do not broadcast.
pub(super) fn shape(a: &Shape, b: &Shape) -> Result<Shape> {
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
