//! Matrix products: blocks of 4 x 4 or 2 x 2, or one row at a time.

use super::{MAX_GROUPS, elements, launches_exactly, literal, one_type, require, sizes};
use crate::backend::support::{Facts, Verdict};

pub(super) fn gemm(facts: &Facts) -> Verdict {
    one_type(facts)?;
    let is_transposed = facts.int("transA", 0) != 0 || facts.int("transB", 0) != 0;
    require(!is_transposed, "transA or transB is set")?;
    for attr in ["alpha", "beta"] {
        literal(facts.node.attrs.float(attr).unwrap_or(1.0))?;
    }
    let (a, b) = (sizes(facts, 0)?, sizes(facts, 1)?);
    let (&[m, k], &[_, n]) = (&a[..], &b[..]) else {
        return Err("it is not over matrices");
    };
    if facts.has_input(2) {
        let bias = sizes(facts, 2)?;
        require(
            (1..=2).contains(&bias.len()),
            "the bias is neither a row nor a matrix",
        )?;
        let is_wide = bias.last() == Some(&n);
        require(m > 1 || is_wide, "one row with a bias of another length")?;
    }
    product(m, k, n)
}

pub(super) fn matmul(facts: &Facts) -> Verdict {
    one_type(facts)?;
    let (a, b) = (sizes(facts, 0)?, sizes(facts, 1)?);
    let (&[ref a_batch @ .., m, k], &[ref b_batch @ .., _, n]) = (&a[..], &b[..]) else {
        return Err("it is not over matrices");
    };
    require(a_batch == b_batch, "batches broadcast")?;
    let is_stack = !a_batch.is_empty();
    require(!is_stack || m > 1, "a batch of single rows")?;
    require(
        elements(a_batch) <= MAX_GROUPS,
        "the batch is too large for one launch",
    )?;
    product(m, k, n)
}

/// [m, k] x [k, n]
fn product(m: usize, k: usize, n: usize) -> Verdict {
    if m == 1 {
        require(
            k.is_multiple_of(4),
            "the inner size of a single row is no multiple of 4",
        )?;
        return require(
            n as u64 <= MAX_GROUPS,
            "a single row has more than 65,535 columns",
        );
    }
    let divisor = greatest_common_divisor(m, greatest_common_divisor(k, n));
    let has_blocks = divisor == 2 || divisor.is_multiple_of(4);
    require(
        has_blocks,
        "the greatest common divisor of its sizes is neither 2 nor a multiple of 4",
    )?;
    let side = if divisor == 2 { 2 } else { 4 };
    let n_blocks = elements(&[m / side, n / side]);
    require(
        launches_exactly(n_blocks),
        "the number of blocks does not suit one launch",
    )
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}
