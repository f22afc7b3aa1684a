//! Many elements to one along axes: `ReduceSum` and its kin.

use super::rules::{
    axes_in, expect_dtype, expect_index, expect_rank_limit, fact, fit, is_bool, is_number, onnx,
    tensor, with_value,
};
use super::{Attrs, Inputs, Op, OpDef, reduce_kernel};
use crate::error::Result;
use crate::kernel::{Call, Dispatch, Refusal};
use crate::tensor::{Dim, Fact, Shape};
use reduce_kernel::Kind;

pub const DEFS: &[OpDef] = &[
    onnx(
        "ReduceL1",
        |attrs, version| parse(attrs, version < 18, Kind::L1, None),
        &[
            "input x: f32[2, 40, 5]\n const a: i64[1] = [1]\n y = ReduceL1(x, a)\n output y: f32[2, 1, 5]",
            "input x: f32[n, 3]\n const a: i64[1] = [1]\n y = ReduceL1(x, a)\n output y: f32[n, 1]",
        ],
    ),
    onnx(
        "ReduceL2",
        |attrs, version| parse(attrs, version < 18, Kind::L2, None),
        &[
            "input x: f32[2, 65]\n const a: i64[1] = [1]\n y = ReduceL2(x, a)\n output y: f32[2, 1]",
            "opset 11\n input x: f32[n, 3]\n y = ReduceL2(x) {axes = [-1], keepdims = 0}\n output y: f32[n]",
        ],
    ),
    onnx(
        "ReduceLogSum",
        |attrs, version| parse(attrs, version < 18, Kind::LogSum, None),
        &["input x: f32[n, 3]\n y = ReduceLogSum(x)\n output y: f32[1, 1]"],
    ),
    onnx(
        "ReduceLogSumExp",
        |attrs, version| parse(attrs, version < 18, Kind::LogSumExp, None),
        &[
            "input x: f32[4, 65]\n const a: i64[1] = [1]\n y = ReduceLogSumExp(x, a)\n output y: f32[4, 1]",
            "input x: f32[n, 3]\n y = ReduceLogSumExp(x)\n output y: f32[1, 1]",
        ],
    ),
    onnx(
        "ReduceMax",
        |attrs, version| parse(attrs, version < 18, Kind::Max, Some(|x, y| x.max(y))),
        &[
            "input x: i32[2, 70]\n const a: i64[1] = [1]\n y = ReduceMax(x, a)\n output y: i32[2, 1]",
            "input x: f32[3, 333]\n const a: i64[1] = [-1]\n y = ReduceMax(x, a)\n output y: f32[3, 1]",
            "input x: bool[n, 0]\n const a: i64[1] = [1]\n y = ReduceMax(x, a)\n output y: bool[n, 1]",
            "opset 17\n input x: f32[n, 3]\n y = ReduceMax(x) {axes = [0]}\n output y: f32[1, 3]",
        ],
    ),
    onnx(
        "ReduceMean",
        |attrs, version| parse(attrs, version < 18, Kind::Mean, None),
        &[
            "input x: f16[3, 4, 9, 9]\n const a: i64[2] = [2, 3]\n y = ReduceMean(x, a)\n output y: f16[3, 4, 1, 1]",
            "input x: f32[n, 3, 4]\n const a: i64[2] = [1, 2]\n y = ReduceMean(x, a) {keepdims = 0}\n output y: f32[n]",
            "opset 13\n input x: f32[n, 3, 4]\n y = ReduceMean(x) {axes = [2]}\n output y: f32[n, 3, 1]",
            "input x: f32[n, 3]\n input a: i64[1]\n y = ReduceMean(x, a)\n output y: f32[?, ?]",
            "input x: f32[n, 3]\n input a: i64[1]\n y = ReduceMean(x, a) {keepdims = 0}\n output y: f32",
            "input x: f32\n y = ReduceMean(x) {keepdims = 0}\n output y: f32[]",
        ],
    ),
    onnx(
        "ReduceMin",
        |attrs, version| parse(attrs, version < 18, Kind::Min, Some(|x, y| x.min(y))),
        &[
            "input x: f32[3, 7, 65]\n const a: i64[1] = [2]\n y = ReduceMin(x, a)\n output y: f32[3, 7, 1]",
            "input x: i8[n, 3]\n y = ReduceMin(x) {keepdims = 0}\n output y: i8[]",
        ],
    ),
    onnx(
        "ReduceProd",
        |attrs, version| parse(attrs, version < 18, Kind::Prod, Some(|x, y| x * y)),
        &[
            "input x: i32[3, 5]\n const a: i64[1] = [1]\n y = ReduceProd(x, a)\n output y: i32[3, 1]",
            "input x: f32[3, 40]\n const a: i64[1] = [1]\n y = ReduceProd(x, a)\n output y: f32[3, 1]",
            "input x: f32[n, 3]\n s = Shape(x)\n p = ReduceProd(s)\n y = ConstantOfShape(p)\n output y: f32[(n * 3)]",
        ],
    ),
    onnx(
        "ReduceSum",
        |attrs, version| parse(attrs, version < 13, Kind::Sum, Some(|x, y| x + y)),
        &[
            "input x: f32[5, 70, 3]\n const a: i64[1] = [-2]\n y = ReduceSum(x, a)\n output y: f32[5, 1, 3]",
            "input x: f32[3, 1000]\n const a: i64[1] = [1]\n y = ReduceSum(x, a) {keepdims = 0}\n output y: f32[3]",
            "input x: i64[4, 5, 6]\n const a: i64[2] = [0, 2]\n y = ReduceSum(x, a)\n output y: i64[1, 5, 1]",
            "input x: f32[6, 5, 40, 3]\n const a: i64[2] = [0, 2]\n y = ReduceSum(x, a) {keepdims = 0}\n output y: f32[5, 3]",
            "input x: f32[n, 3]\n const a: i64[0] = []\n y = ReduceSum(x, a) {noop_with_empty_axes = 1}\n output y: f32[n, 3]",
            "input x: f32[n, 3]\n const a: i64[0] = []\n y = ReduceSum(x, a)\n output y: f32[1, 1]",
            "opset 13\n input x: f32[2, n]\n const a: i64[1] = [0]\n y = ReduceSum(x, a)\n output y: f32[1, n]",
            "opset 11\n input x: f32[2, n]\n y = ReduceSum(x) {axes = [1], keepdims = 0}\n output y: f32[2]",
        ],
    ),
    onnx(
        "ReduceSumSquare",
        |attrs, version| parse(attrs, version < 18, Kind::SumSquare, None),
        &[
            "input x: f32[4, 65]\n const a: i64[1] = [1]\n y = ReduceSumSquare(x, a)\n output y: f32[4, 1]",
            "input x: f32[n, 3]\n y = ReduceSumSquare(x)\n output y: f32[1, 1]",
            "input x: f32[n, 3]\n y = ReduceSumSquare(x) {noop_with_empty_axes = 1}\n output y: f32[n, 3]",
            "input x: i32[n, 3]\n y = ReduceL1(x) {noop_with_empty_axes = 1}\n output y: i32[n, 3]",
        ],
    ),
];

type Fold = fn(&Dim, &Dim) -> Dim;

struct Reduce {
    kind: Kind,
    /// Axes in an attribute, where the version has them there.
    axes: Option<Vec<i64>>,
    axes_input: bool,
    keepdims: bool,
    noop_with_empty_axes: bool,
    /// The function on two integer elements, where it is worth following.
    value: Option<Fold>,
}

/// `value` is for elements that may be sizes.
fn parse(attrs: &Attrs, axes_attr: bool, kind: Kind, value: Option<Fold>) -> Result<Box<dyn Op>> {
    let flag = |name: &str, default: i64| attrs.int(name).unwrap_or(default) != 0;
    Ok(Box::new(Reduce {
        kind,
        axes: attrs
            .ints("axes")
            .filter(|_| axes_attr)
            .map(<[i64]>::to_vec),
        axes_input: !axes_attr,
        keepdims: flag("keepdims", 1),
        noop_with_empty_axes: !axes_attr && flag("noop_with_empty_axes", 0),
        value,
    }))
}

impl Op for Reduce {
    /// Reduced axes become 1, or go where `keepdims` is 0.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_dtype(
            inputs,
            0,
            |dtype| is_number(dtype) || is_bool(dtype),
            "a number type",
        )?;
        let mut axes = self.axes.clone().or(Some(Vec::new()));
        if self.axes_input && inputs.get(1).is_some() {
            expect_index(inputs, 1)?;
            axes = inputs.ints(1);
        }
        let all = axes.as_ref().is_some_and(Vec::is_empty);
        if all && self.noop_with_empty_axes {
            return Ok(vec![fact(x.dtype, x.shape.clone())]);
        }
        let Some(shape) = &x.shape else {
            let scalar = (all && !self.keepdims).then(Shape::scalar);
            return Ok(vec![fact(x.dtype, scalar)]);
        };
        let rank = expect_rank_limit(shape.rank())?;
        let Some(axes) = axes else {
            let unknown = self.keepdims.then(|| Shape::unknown(rank));
            return Ok(vec![fact(x.dtype, unknown)]);
        };
        let axes = if all {
            (0..rank).collect()
        } else {
            axes_in(rank, &axes)?
        };
        let mut dims = Vec::new();
        for (axis, dim) in shape.iter().enumerate() {
            match axes.contains(&axis) {
                false => dims.push(dim.clone()),
                true if self.keepdims => dims.push(Dim::Size(1)),
                true => {}
            }
        }
        let value = match (self.value, x.value.as_deref()) {
            (Some(function), Some([first, rest @ ..])) if rank == 1 => {
                let all = rest
                    .iter()
                    .fold(first.clone(), |reduced, next| function(&reduced, next));
                Some(vec![fit(x.dtype, all)])
            }
            _ => None,
        };
        Ok(vec![with_value(fact(x.dtype, Some(Shape(dims))), value)])
    }
    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let mut axes = self.axes.clone().unwrap_or_default();
        if self.axes_input && call.has_input(1) {
            axes = call.ints(1)?;
        }
        let rank = call.sizes(0).len();
        let axes = match axes.as_slice() {
            // Each element is reduced on its own: of the square, that is still the square.
            [] if self.noop_with_empty_axes => match self.kind {
                Kind::L1 | Kind::L2 | Kind::LogSum | Kind::SumSquare => Vec::new(),
                _ => return Ok(Dispatch::view(0)),
            },
            [] => (0..rank).collect(),
            axes => axes_in(rank, axes).expect("infer has accepted the axes"),
        };
        reduce_kernel::dispatch(self.kind, &axes, call)
    }
}
