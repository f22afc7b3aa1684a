//! The kernels of the reductions: `y = complete(fold of prepare(x))` over axes of x.

use crate::kernel::{Axes, Call, Dispatch, Kernel, Map, Refusal, collapse, dense_strides, grid};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

/// Invocations of a workgroup that reduces one row.
const WORKGROUP: usize = 64;

/// Reduces these axes of the first input.
pub(super) fn dispatch(kind: Kind, axes: &[usize], call: &Call) -> Result<Dispatch, Refusal> {
    let (kept, reduced) = split(&call.sizes(0), axes);
    reduce(kind, &kept, &reduced, call)
}

/// The first input to the first output, whose elements are those of `kept`, each from all of
/// `reduced`.
pub(super) fn reduce(
    kind: Kind,
    kept: &Axes,
    reduced: &Axes,
    call: &Call,
) -> Result<Dispatch, Refusal> {
    let (x, y) = (call.input(0)?, call.output(0)?);
    let is_float = x.storage.is_float();
    if !is_float && matches!(kind, Kind::L2 | Kind::LogSum | Kind::LogSumExp) {
        return Err("its result is no integer".into());
    }
    let count: usize = reduced.sizes.iter().product();
    let n_outputs: usize = kept.sizes.iter().product();
    if count == 0 && n_outputs > 0 {
        return Err("nothing to reduce".into());
    }
    let acc = match x.storage.value() {
        "bool" => "u32",
        value => value,
    };
    let walks = |kernel: Kernel| {
        let kernel = kernel.param("count", count).read("x", x);
        reduced.declare_as("reduced_", kept.declare_as("kept_", kernel))
    };
    // One workgroup for each row pays where rows are long and lie together, or are too few for
    // one invocation each.
    let lies_together = reduced.strides[0].last() == Some(&1) || n_outputs < 256;
    let by_group = !call.caps.software
        && count >= 32
        && lies_together
        && kind != Kind::LogSumExp
        && !y.storage.is_packed();
    let launch = if by_group {
        walks(Kernel::new(
            "reduce_group",
            include_str!("reduce_group.wgsl"),
        ))
        .param("rows", n_outputs)
        .constant("WORKGROUP", WORKGROUP)
        .write("y", y)
        .snippet(&format!("alias acc = {acc};"))
        .snippet(&functions(kind, is_float, y.storage.value()))
        .launch(grid(n_outputs, call.caps))
    } else {
        let kernel = walks(Map::kernel("reduce_lane", include_str!("reduce_lane.wgsl")))
            .snippet(&format!("alias acc = {acc};"))
            .snippet(&functions(kind, is_float, y.storage.value()))
            .snippet(shift(kind));
        Map::launch(kernel, y, n_outputs, call.caps)
    };
    Ok(Dispatch::one(launch))
}

/// The axes that stay and those that go, each with the stride of x.
fn split(sizes: &[usize], axes: &[usize]) -> (Axes, Axes) {
    let strides = dense_strides(sizes);
    let pick = |reduced: bool| {
        let axes = (0..sizes.len()).filter(|axis| axes.contains(axis) == reduced);
        let (sizes, strides) = axes.map(|axis| (sizes[axis], strides[axis])).unzip();
        let sizes: Vec<usize> = sizes;
        collapse(&sizes, &[strides])
    };
    (pick(false), pick(true))
}

/// `prepare` for each element, `start` for what a fold begins with, given its first element,
/// `fold` for two, `complete` for the result.
fn functions(kind: Kind, is_float: bool, y_value: &str) -> String {
    let prepared = match kind {
        Kind::L1 if y_value == "u32" => "x",
        Kind::L1 => "abs(x)",
        Kind::L2 | Kind::SumSquare => "x * x",
        Kind::LogSumExp => "exp(max(x - shift, acc(-87.0)))",
        _ => "x",
    };
    let (start, folded) = match kind {
        Kind::Max => ("x", "max(a, b)"),
        Kind::Min => ("x", "min(a, b)"),
        Kind::Prod => ("acc(1)", "a * b"),
        _ => ("acc()", "a + b"),
    };
    let completed = match kind {
        Kind::L2 => "sqrt(total)",
        Kind::LogSum => "log(total)",
        Kind::LogSumExp => "log(total) + shift",
        Kind::Mean if is_float => "total / f32(params.count)",
        Kind::Mean => "total / acc(params.count)",
        _ if y_value == "bool" => "total != 0u",
        _ => "total",
    };
    format!(
        "fn prepare(x: acc, shift: acc) -> acc {{ return {prepared}; }}
fn start(x: acc) -> acc {{ return {start}; }}
fn fold(a: acc, b: acc) -> acc {{ return {folded}; }}
fn complete(total: acc, shift: acc) -> y_value {{ return {completed}; }}"
    )
}

/// `fn shift_from(first: u32) -> acc`: the largest element, where sums are of its exponentials.
fn shift(kind: Kind) -> &'static str {
    if kind != Kind::LogSumExp {
        return "fn shift_from(first: u32) -> acc { return acc(); }";
    }
    "fn shift_from(first: u32) -> acc {
  var largest = load_x(first);
  for (var r = 1u; r < params.count; r++) {
    largest = max(largest, load_x(first + reduced_offsets(r)[0]));
  }
  return clamp(largest, -3.4028234e38, 3.4028234e38);
}"
}
