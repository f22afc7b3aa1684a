//! Matrix products: `y[.., i, j] = sum_k a[.., i, k] * b[.., k, j]`, with leading axes broadcast,
//! also over quantised elements.

use super::product::{Added, Blocks, Layout, Matrix, Product, Zero};
use super::{Attrs, Inputs, Op, OpDef, check, rules};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Launch, Map, Port, Refusal, Storage};
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
            "input a: f32[n, 5]\n input b: f32[5, 7]\n const c: f32[1] = [1.5]\n m = MatMul(a, b)\n y = Add(c, m)\n output y: f32[n, 7]",
            "input a: f32[3, 5]\n input b: f32[5]\n const c: f32[3] = [1.5, 2.0, 3.0]\n m = MatMul(a, b)\n y = Add(m, c)\n output y: f32[3]",
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
            "input a: i8[2, n, 17]\n input b: i8[17, 70]\n input za: i8[]\n input zb: i8[70]
           y = MatMulInteger(a, b, za, zb)\n output y: i32[2, n, 70]",
            "input a: u8[5, 9]\n input b: u8[9, 40]\n input za: u8[5]\n input zb: u8[40]
           y = MatMulInteger(a, b, za, zb)\n output y: i32[5, 40]",
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
            "opset com.microsoft 1\n input a: f32[9, 32]\n input q: u8[10, 1, 16]\n input c: f32[10]\n input z: u8[10]
           y = com.microsoft::MatMulNBits(a, q, c, z) {K = 32, N = 10, bits = 4, block_size = 32}
           output y: f32[9, 10]",
            "opset com.microsoft 1\n input a: f32[1, 100]\n input q: u8[33, 4, 16]\n input c: f32[132]\n input z: u8[66]
           y = com.microsoft::MatMulNBits(a, q, c, z) {K = 100, N = 33, bits = 4, block_size = 32}
           output y: f32[1, 33]",
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
    /// Scales are inputs 1, 4 and 6, zero points 2, 5 and 7.
    Requantized,
    /// Scales are inputs 2 and 3, zero points 4 and 5, a bias 6.
    Scaled,
    /// a is quantised when the model runs.
    Dynamic,
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
    product(Kind::Requantized, 3, |inputs| {
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
    product(Kind::Dynamic, 1, |inputs| {
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
        let zeros = match self.kind {
            Kind::Plain => None,
            Kind::Integer => Some((2, 3)),
            Kind::Requantized => Some((2, 5)),
            Kind::Scaled => Some((4, 5)),
            Kind::Dynamic => return Err("a is quantised on the cpu".into()),
        };
        let mut a = self.turn_a.layout(&call.sizes(0));
        let mut b = self.turn_b.layout(&call.sizes(self.b_idx));
        a.expand_vector(true);
        b.expand_vector(false);
        let mut dispatch = Dispatch::default();
        let y = call.output(0)?;
        let n_elems = call.output_sizes(0).iter().product();
        let sums = match self.kind {
            Kind::Plain | Kind::Integer => y,
            _ => dispatch.add_scratch(Storage::I32, n_elems),
        };
        let ports = (call.input(0)?, call.input(self.b_idx)?);
        let mut product = Product::new((ports.0, &a), (ports.1, &b), sums);
        product.alpha = self.alpha;
        if let Some((a_idx, b_idx)) = zeros {
            product.zero_a = zero_point(call, a_idx, product.m)?;
            product.zero_b = zero_point(call, b_idx, product.n)?;
        }
        let n_cols = product.n;
        product.append(&mut dispatch, call);
        if sums != y {
            let launch = self.scale(call, sums, n_cols)?;
            dispatch.launches.push(launch);
        }
        Ok(dispatch)
    }
}

impl MatMul {
    /// What becomes of sums of integers: numbers, or integers of another scale.
    fn scale(&self, call: &Call, sums: Port, n_cols: usize) -> Result<Launch, Refusal> {
        let y = call.output(0)?;
        let scales = match self.kind {
            Kind::Requantized => [1, 4],
            _ => [2, 3],
        };
        let mut kernel = Map::kernel("matmul_scale", "")
            .param("n_cols", n_cols)
            .read("sums", sums);
        let mut factors = Vec::new();
        for (name, idx) in ["scale_a", "scale_b"].into_iter().zip(scales) {
            // A scale of a for each row has no kernel.
            let n_scales = if name == "scale_b" { n_cols } else { 1 };
            let stride = per_column(call, idx, n_scales)?;
            kernel = kernel
                .param(&format!("{name}_stride"), stride)
                .read(name, call.input(idx)?);
            factors.push(format!("load_{name}(col * params.{name}_stride)"));
        }
        let factor = factors.join(" * ");
        let value = if self.kind == Kind::Requantized {
            let (low, high) = match y.storage {
                Storage::I8 => (-128, 127),
                Storage::U8 => (0, 255),
                _ => return Err("y is quantised to no bytes".into()),
            };
            per_column(call, 6, 1)?;
            kernel = kernel.read("scale_y", call.input(6)?);
            let mut zero = "0.0";
            if call.has_input(7) {
                per_column(call, 7, 1)?;
                kernel = kernel.read("zero_y", call.input(7)?);
                zero = "f32(load_zero_y(0u))";
            }
            format!(
                "y_value(i32(clamp(round(sum * ({factor} / load_scale_y(0u))) + {zero}, {low}.0, {high}.0)))"
            )
        } else if call.has_input(6) {
            kernel = kernel.read("bias", call.input(6)?);
            format!("sum * ({factor}) + load_bias(col)")
        } else {
            format!("sum * ({factor})")
        };
        let kernel = kernel.snippet(&format!(
            "fn element(i: u32) -> y_value {{
  let col = i % params.n_cols;
  let sum = f32(load_sums(i));
  return {value};
}}"
        ));
        let n_elems = call.output_sizes(0).iter().product();
        Ok(Map::launch(kernel, y, n_elems, call.caps))
    }
}

/// The stride of an input with one number for all, or one for each column.
fn per_column(call: &Call, idx: usize, n_cols: usize) -> Result<usize, Refusal> {
    match call.sizes(idx).as_slice() {
        [] | [1] => Ok(0),
        [n] if *n == n_cols => Ok(1),
        _ => Err("scales for each row or matrix have no kernel".into()),
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
    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        if call.has_input(4) {
            return Err("groups in another order have no kernel".into());
        }
        if !matches!(self.bits, 4 | 8) || self.block_size % 8 != 0 {
            return Err("only whole bytes and their halves have a kernel".into());
        }
        let size = |n: i64| usize::try_from(n).expect("parse has counted");
        let (k, n) = (size(self.k), size(self.n));
        let zeros = match call.has_input(3) {
            true => Some(call.input(3)?),
            false => None,
        };
        if zeros.is_some_and(|port| port.storage != Storage::U8) {
            return Err("zero points that are no integers have no kernel".into());
        }
        let mut a = Layout::dense(&call.sizes(0));
        a.expand_vector(true);
        let mut b = Layout::dense(&[n, k]);
        b.transpose();
        let (a, b) = ((call.input(0)?, &a), (call.input(1)?, &b));
        let mut product = Product::new(a, b, call.output(0)?);
        product.blocks_b = Some(Blocks {
            scales: call.input(2)?,
            zeros,
            bits: size(self.bits),
            size: size(self.block_size),
        });
        if call.has_input(5) {
            product.added = Some(Added {
                matrix: Matrix {
                    port: call.input(5)?,
                    row_stride: 0,
                    col_stride: 1,
                },
                factor: 1.0,
            });
        }
        Ok(product.dispatch(call))
    }
}
