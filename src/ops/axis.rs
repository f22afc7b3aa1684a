//! Operators along one axis: `ArgMax`, `ArgMin`, `TopK`, `CumSum`, `CumProd`.

use super::rules::{
    axis_in, expect_dtype, expect_index, fact, is_number, onnx, required, scalar, tensor,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Map, Refusal, grid};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "ArgMax",
        |attrs, _| parse_arg(attrs, ">"),
        &[
            "input x: f32[3, 200]\n y = ArgMax(x) {axis = 1}\n output y: i64[3, 1]",
            "input x: i32[3, 200]\n y = ArgMax(x) {axis = 1, select_last_index = 1}\n output y: i64[3, 1]",
            "input x: i32[3, 20, 7]\n y = ArgMax(x) {axis = 1, keepdims = 0}\n output y: i64[3, 7]",
            "input x: f32[n, 3]\n y = ArgMax(x) {axis = -1, keepdims = 0}\n output y: i64[n]",
            "opset 1\n input x: f32[2, n]\n y = ArgMax(x)\n output y: i64[1, n]",
        ],
    ),
    onnx(
        "ArgMin",
        |attrs, _| parse_arg(attrs, "<"),
        &[
            "input x: i32[2, 70]\n y = ArgMin(x) {axis = 1}\n output y: i64[2, 1]",
            "input x: f32[2, 7]\n y = ArgMin(x) {axis = 1, select_last_index = 1}\n output y: i64[2, 1]",
            "input x: i8[4]\n y = ArgMin(x) {keepdims = 0}\n output y: i64[]",
        ],
    ),
    onnx(
        "CumProd",
        |attrs, _| Ok(Box::new(Cumulate::parse(attrs, "acc(1)", "total * x"))),
        &[
            "opset 26\n input x: f32[n, 3]\n const a: i64[] = [1]\n y = CumProd(x, a)\n output y: f32[n, 3]",
        ],
    ),
    onnx(
        "CumSum",
        |attrs, _| Ok(Box::new(Cumulate::parse(attrs, "acc()", "total + x"))),
        &[
            "input x: f32[2, 5, n]\n const a: i64[] = [1]\n y = CumSum(x, a)\n output y: f32[2, 5, n]",
            "input x: i64[2, 5]\n const a: i64[] = [-1]\n y = CumSum(x, a) {exclusive = 1}\n output y: i64[2, 5]",
            "input x: f32[70]\n const a: i64[] = [0]\n y = CumSum(x, a) {exclusive = 1, reverse = 1}\n output y: f32[70]",
            "input x: f32[n, 3]\n const a: i32[1] = [-2]\n y = CumSum(x, a) {reverse = 1}\n output y: f32[n, 3]",
        ],
    ),
    onnx(
        "TopK",
        parse_top_k,
        &[
            "input x: f32[2, 100]\n const k: i64[1] = [7]\n y, i = TopK(x, k) {largest = 0}\n output y: f32[2, 7]\n output i: i64[2, 7]",
            "input x: i32[2, 40, 3]\n const k: i64[1] = [40]\n y, i = TopK(x, k) {axis = 1}\n output y: i32[2, 40, 3]\n output i: i64[2, 40, 3]",
            "input x: f32[5, 65]\n const k: i64[1] = [1]\n _, i = TopK(x, k)\n output i: i64[5, 1]",
            "input x: f16[n, 9]\n const k: i64[1] = [5]\n y, i = TopK(x, k)\n output y: f16[n, 5]\n output i: i64[n, 5]",
            "opset 9\n input x: f32[n, 9]\n y, i = TopK(x) {k = 2, axis = 0}\n output y: f32[2, 9]\n output i: i64[2, 9]",
            "input x: f32[n, 9]\n input k: i64[1]\n y, i = TopK(x, k)\n output y: f32[n, ?]\n output i: i64[n, ?]",
        ],
    ),
];

struct Arg {
    /// Which of two elements is the better one, `>` or `<`.
    order: &'static str,
    select_last: bool,
    axis: i64,
    keepdims: bool,
}

fn parse_arg(attrs: &Attrs, order: &'static str) -> Result<Box<dyn Op>> {
    Ok(Box::new(Arg {
        order,
        select_last: attrs.int("select_last_index").unwrap_or(0) != 0,
        axis: attrs.int("axis").unwrap_or(0),
        keepdims: attrs.int("keepdims").unwrap_or(1) != 0,
    }))
}

impl Op for Arg {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_dtype(inputs, 0, is_number, "a number type")?;
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(Some(DType::I64), None)]);
        };
        let axis = axis_in(shape.rank(), self.axis)?;
        if shape[axis] == Dim::Size(0) {
            return Err(Error::shape(
                "",
                format!("axis {axis} of {shape} has no element"),
            ));
        }
        let mut dims = shape.0.clone();
        if self.keepdims {
            dims[axis] = Dim::Size(1);
        } else {
            dims.remove(axis);
        }
        Ok(vec![Fact::tensor(DType::I64, Shape(dims))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let rows = Rows::of(call, self.axis);
        let (x, y) = (call.input(0)?, call.output(0)?);
        let later = if self.select_last { ">" } else { "<" };
        let order = self.order;
        // Equal elements are ordered by their index.
        let better = format!(
            "fn is_better(x: x_value, i: u32, than: x_value, j: u32) -> bool {{
  return x {order} than || (x == than && i {later} j);
}}"
        );
        let launch = if call.caps.software || rows.inner > 1 || rows.cols < 32 {
            let kernel = rows.declare(Map::kernel("arg_lane", include_str!("arg_lane.wgsl")));
            Map::launch(
                kernel.snippet(&better).read("x", x),
                y,
                rows.count(),
                call.caps,
            )
        } else {
            rows.declare(Kernel::new("arg_group", include_str!("arg_group.wgsl")))
                .param("rows", rows.count())
                .constant("WORKGROUP", 64)
                .snippet(&better)
                .read("x", x)
                .write("y", y)
                .launch(grid(rows.count(), call.caps))
        };
        Ok(Dispatch::one(launch))
    }
}

/// The rows along an axis: element `c` of row `r` is at
/// `r / inner * cols * inner + c * inner + r % inner`.
struct Rows {
    outer: usize,
    cols: usize,
    inner: usize,
}

impl Rows {
    fn of(call: &Call, axis: i64) -> Rows {
        let sizes = call.sizes(0);
        let axis = axis_in(sizes.len(), axis).expect("infer has accepted the axis");
        Rows {
            outer: sizes[..axis].iter().product(),
            cols: sizes[axis],
            inner: sizes[axis + 1..].iter().product(),
        }
    }

    fn count(&self) -> usize {
        self.outer * self.inner
    }

    fn declare(&self, kernel: Kernel) -> Kernel {
        kernel.param("cols", self.cols).param("inner", self.inner)
    }
}

/// x: any shape, axis: one element -> the shape of x.
struct Cumulate {
    exclusive: bool,
    reverse: bool,
    /// In WGSL, what the total begins with and what it is after an element.
    start: &'static str,
    next: &'static str,
}

impl Cumulate {
    fn parse(attrs: &Attrs, start: &'static str, next: &'static str) -> Cumulate {
        let flag = |name: &str| attrs.int(name).unwrap_or(0) != 0;
        Cumulate {
            exclusive: flag("exclusive"),
            reverse: flag("reverse"),
            start,
            next,
        }
    }
}

impl Op for Cumulate {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        tensor(inputs, 1)?;
        expect_dtype(inputs, 0, is_number, "a number type")?;
        expect_index(inputs, 1)?;
        if let (Some(Dim::Size(axis)), Some(shape)) = (scalar(inputs, 1)?, &x.shape) {
            axis_in(shape.rank(), axis)?;
        }
        Ok(vec![fact(x.dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (x, y) = (call.input(0)?, call.output(0)?);
        if y.storage.is_packed() {
            return Err("bytes have no kernel".into());
        }
        let axis = call.ints(1)?;
        let rows = Rows::of(call, *axis.first().ok_or("the axis is empty")?);
        let stored = if self.exclusive { "before" } else { "total" };
        let functions = format!(
            "alias acc = x_value;
const START = {};
fn next(total: acc, x: acc) -> acc {{ return {}; }}
fn kept(before: acc, total: acc) -> acc {{ return {stored}; }}",
            self.start, self.next
        );
        let launch = rows
            .declare(Kernel::new("cumulate", include_str!("cumulate.wgsl")))
            .param("rows", rows.count())
            .param("reverse", self.reverse.into())
            .read("x", x)
            .write("y", y)
            .snippet(&functions)
            .launch(grid(rows.count().div_ceil(64), call.caps));
        Ok(Dispatch::one(launch))
    }
}

/// Beyond these, a device would be busy for seconds.
const MAX_TOP_K_STEPS: usize = 1 << 31;

struct TopK {
    axis: i64,
    largest: bool,
    /// An attribute before version 10, then an input.
    k: Option<i64>,
}

fn parse_top_k(attrs: &Attrs, version: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis").unwrap_or(-1);
    let k = if version < 10 {
        Some(required(attrs.int("k"), "k")?)
    } else {
        None
    };
    let largest = attrs.int("largest").unwrap_or(1) != 0;
    Ok(Box::new(TopK { axis, largest, k }))
}

impl Op for TopK {
    /// The values and their indices: k of them along the axis.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_dtype(inputs, 0, is_number, "a number type")?;
        let k = match self.k {
            Some(k) => Dim::Size(k),
            None => {
                tensor(inputs, 1)?;
                scalar(inputs, 1)?.unwrap_or(Dim::Unknown)
            }
        };
        let Some(shape) = &x.shape else {
            return Ok(vec![fact(x.dtype, None), fact(Some(DType::I64), None)]);
        };
        let axis = axis_in(shape.rank(), self.axis)?;
        let beyond = match (&k, &shape[axis]) {
            (Dim::Size(k), _) if *k < 0 => true,
            (Dim::Size(k), Dim::Size(size)) => k > size,
            _ => false,
        };
        if beyond {
            let why = format!("k is {k} for axis {axis} of {shape}");
            return Err(Error::shape("", why));
        }
        let mut dims = shape.0.clone();
        dims[axis] = k;
        let shape = Shape(dims);
        Ok(vec![
            fact(x.dtype, Some(shape.clone())),
            Fact::tensor(DType::I64, shape),
        ])
    }
    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let rows = Rows::of(call, self.axis);
        let k = match self.k {
            Some(k) => k,
            None => *call.ints(1)?.first().ok_or("k is empty")?,
        };
        let k = usize::try_from(k).expect("infer has accepted k");
        let x = call.input(0)?;
        if x.storage.is_packed() {
            return Err("bytes have no kernel".into());
        }
        // Each element counts those before it where there are many processors; elsewhere one
        // invocation takes the best, then the next best, and so on.
        let ranks = !call.caps.software && rows.cols > 2 * k.min(16);
        let work = rows.count() * rows.cols * if ranks { rows.cols } else { k };
        if work > MAX_TOP_K_STEPS {
            return Err("so many elements are sorted on the cpu".into());
        }
        let (name, body, n_invocations) = if ranks {
            let body = include_str!("top_k_rank.wgsl");
            ("top_k_rank", body, rows.count() * rows.cols)
        } else {
            ("top_k_lane", include_str!("top_k_lane.wgsl"), rows.count())
        };
        // Keys order as integers: bits of floats with those of negative ones turned round.
        let key = match x.storage.value() {
            "f32" => {
                "  let bits = bitcast<u32>(select(x, 0.0, x == 0.0));
  return bits ^ select(0x80000000u, 0xffffffffu, bits >= 0x80000000u)"
            }
            "i32" => "  return bitcast<u32>(x) ^ 0x80000000u",
            _ => "  return x",
        };
        let turned = if self.largest { "" } else { " ^ 0xffffffffu" };
        let mut put = String::new();
        let mut kernel = rows
            .declare(Kernel::new(name, body))
            .param("rows", rows.count())
            .param("k", k)
            .read("x", x)
            .snippet(&format!(
                "fn key_of(x: x_value) -> u32 {{\n{key}{turned};\n}}"
            ));
        if call.has_output(0) {
            kernel = kernel.write("y", call.output(0)?);
            put.push_str("store_y(at, x); ");
        }
        if call.has_output(1) {
            kernel = kernel.write("indices", call.output(1)?);
            put.push_str("store_indices(at, indices_value(idx)); ");
        }
        let launch = kernel
            .snippet(&format!("fn put(at: u32, x: x_value, idx: u32) {{ {put}}}"))
            .launch(grid(n_invocations.div_ceil(64), call.caps));
        Ok(Dispatch::one(launch))
    }
}
