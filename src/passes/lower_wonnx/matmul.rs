//! Matrix products. wonnx's own are right when the sizes suit its blocks; others become
//! convolutions of one pixel, which are right at any size.

use super::{Build, Formula, Skip, output_sizes, product};
use crate::graph::ValueId;
use crate::ops::Attr;
use crate::tensor::DType;

/// a: [m, k], b: [k, n]; whether wonnx's blocks fit.
fn suits_blocks(m: i64, k: i64, n: i64) -> bool {
    if m == 1 {
        return k % 4 == 0 && n <= 65_535;
    }
    let block = gcd(m, gcd(k, n));
    if block != 2 && block % 4 != 0 {
        return false;
    }
    let side = if block % 4 == 0 { 4 } else { 2 };
    let n_blocks = (m / side).saturating_mul(n / side);
    let per_group = (n_blocks - 1) / 65_535 + 1;
    n_blocks % per_group == 0
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// alpha * a' b' + beta * c -> the same without transposes, or a convolution.
pub(super) fn gemm(b: &Build) -> Formula {
    let (mut a, mut w) = (b.x()?, b.input(1)?);
    let c = b.node.input(2);
    let &[m, n] = &output_sizes(b)?[..] else {
        return Err(Skip::Refused("a size is unknown"));
    };
    let (trans_a, trans_b) = (b.int("transA", 0) != 0, b.int("transB", 0) != 0);
    let a_sizes = b.sizes(a)?;
    let k = *a_sizes.get(usize::from(!trans_a)).ok_or(Skip::NoMatch)?;
    let (alpha, beta) = (b.float("alpha", 1.0), b.float("beta", 1.0));
    let c_sizes = c.map(|c| b.sizes(c)).transpose()?;
    // The block of one row reads the bias by column.
    let c_fits = match &c_sizes {
        None => true,
        Some(sizes) => (m > 1 && !sizes.is_empty()) || sizes.last() == Some(&n),
    };
    let suits = suits_blocks(m, k, n) && c_fits;
    if suits && !trans_a && !trans_b {
        return Err(Skip::NoMatch);
    }
    if b.dtype(a)? != DType::F32 {
        return Err(Skip::Refused("wonnx multiplies f32"));
    }
    if trans_a {
        a = b.transpose(a, &[1, 0]);
    }
    if suits {
        if trans_b {
            w = b.transpose(w, &[1, 0]);
        }
        let attrs = [
            ("alpha", Attr::Float(alpha as f32)),
            ("beta", Attr::Float(beta as f32)),
        ];
        return Ok(b.op_with("Gemm", &[Some(a), Some(w), c], attrs));
    }
    if !trans_b {
        w = b.transpose(w, &[1, 0]);
    }
    if alpha != 1.0 {
        w = b.mul(w, b.scalar(DType::F32, alpha)?);
    }
    let mut c = c;
    if let Some(value) = c
        && beta != 1.0
    {
        c = Some(b.mul(value, b.scalar(DType::F32, beta)?));
    }
    // A bias per column goes into the convolution, any other is added behind.
    let is_row = match &c_sizes {
        Some(sizes) => product(sizes)? == n && sizes.last() == Some(&n),
        None => false,
    };
    let bias = c.filter(|_| is_row).map(|c| b.reshape(c, &[n]));
    let y = by_convolution(b, a, w, bias, [m, k, n]);
    Ok(match c {
        Some(c) if !is_row => b.add(y, c),
        _ => y,
    })
}

/// a: [m, k], w: [n, k] -> [m, n]
fn by_convolution(
    b: &Build,
    a: ValueId,
    w: ValueId,
    bias: Option<ValueId>,
    [m, k, n]: [i64; 3],
) -> ValueId {
    let inputs = [
        Some(b.reshape(a, &[m, k, 1, 1])),
        Some(b.reshape(w, &[n, k, 1, 1])),
        bias,
    ];
    let y = b.op_with("Conv", &inputs, [("kernel_shape", Attr::Ints(vec![1, 1]))]);
    b.reshape(y, &[m, n])
}

pub(super) fn matmul(b: &Build) -> Formula {
    let (x, y) = (b.x()?, b.input(1)?);
    if b.dtype(x)? != DType::F32 {
        return Err(Skip::Refused("wonnx multiplies f32"));
    }
    let (left, right, out) = (b.sizes(x)?, b.sizes(y)?, output_sizes(b)?);
    // Vectors are matrices of one row or column.
    if left.len() < 2 || right.len() < 2 {
        let as_matrix = |value: ValueId, sizes: &[i64], shape: [i64; 2]| {
            if sizes.len() < 2 {
                b.reshape(value, &shape)
            } else {
                value
            }
        };
        let (&k, &k_right) = (
            left.last().ok_or(Skip::NoMatch)?,
            right.first().ok_or(Skip::NoMatch)?,
        );
        let (x, y) = (
            as_matrix(x, &left, [1, k]),
            as_matrix(y, &right, [k_right, 1]),
        );
        return Ok(b.reshape(b.op("MatMul", &[x, y]), &out));
    }
    let (x_batch, [m, k]) = split_matrix(&left);
    let (y_batch, [_, n]) = split_matrix(&right);
    let (x_count, y_count) = (product(x_batch)?, product(y_batch)?);
    if left.len() == 2 && right.len() == 2 {
        if suits_blocks(m, k, n) {
            return Err(Skip::NoMatch);
        }
        return Ok(by_convolution(
            b,
            x,
            b.transpose(y, &[1, 0]),
            None,
            [m, k, n],
        ));
    }
    // One matrix on the right: all rows on the left are rows of one matrix.
    if y_count == 1 {
        let rows = b.reshape(x, &[product(&[x_count, m])?, k]);
        return Ok(b.reshape(b.op("MatMul", &[rows, b.reshape(y, &[k, n])]), &out));
    }
    if x_batch == y_batch && m > 1 && suits_blocks(m, k, n) {
        return Err(Skip::NoMatch);
    }
    // y: [batch, k, n]; the left side is the same for all, or one for each.
    if x_count == 1 {
        // y' [batch, n, k] has all columns as rows; x y = (y' x')'
        let columns = b.reshape(
            transposed(b, y, right.len())?,
            &[product(&[y_count, n])?, k],
        );
        let product = b.op(
            "MatMul",
            &[columns, b.transpose(b.reshape(x, &[m, k]), &[1, 0])],
        );
        let by_batch = b.reshape(product, &[y_count, n, m]);
        return Ok(b.reshape(b.transpose(by_batch, &[0, 2, 1]), &out));
    }
    if x_batch != y_batch {
        return Err(Skip::Refused("batches broadcast"));
    }
    // One group of a convolution for each pair: [1, batch * k, m, 1] with [batch * n, k, 1, 1].
    let pixels = b.reshape(
        transposed(b, x, left.len())?,
        &[1, product(&[x_count, k])?, m, 1],
    );
    let weight = b.reshape(
        transposed(b, y, right.len())?,
        &[product(&[y_count, n])?, k, 1, 1],
    );
    let y = b.op_with(
        "Conv",
        &[pixels, weight],
        [
            ("kernel_shape", Attr::Ints(vec![1, 1])),
            ("group", Attr::Int(x_count)),
        ],
    );
    let by_batch = b.reshape(y, &[x_count, n, m]);
    Ok(b.reshape(b.transpose(by_batch, &[0, 2, 1]), &out))
}

fn split_matrix(sizes: &[i64]) -> (&[i64], [i64; 2]) {
    let (batch, matrix) = sizes.split_at(sizes.len() - 2);
    (batch, [matrix[0], matrix[1]])
}

/// The last two axes exchanged.
fn transposed(b: &Build, x: ValueId, rank: usize) -> Formula {
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(rank - 2, rank - 1);
    Ok(b.transpose(x, &perm))
}
