//! A copy with some elements replaced: `Scatter`, `ScatterElements`, `ScatterND`, `TensorScatter`.

use super::gather::nd_index;
use super::rules::{
    axis_in, expect_index, expect_rank, fact, onnx, same_dtype, tensor, unify, unify_shapes,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{
    Call, Dispatch, Kernel, Port, Refusal, Unit, collapse, copy_all, dense_strides, grid,
};
use crate::tensor::{Dim, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Scatter",
        parse_elements,
        &[
            "opset 9\n input x: f32[3, 2]\n const i: i64[2, 2] = [0, 1, 2, 0]\n input u: f32[2, 2]\n y = Scatter(x, i, u)\n output y: f32[3, 2]",
        ],
    ),
    onnx(
        "ScatterElements",
        parse_elements,
        &[
            "input x: f32[3, 9, 4]\n const i: i64[2, 2, 4] = [0, -1, 2, 3, 4, 5, 5, 4, 3, 2, 0, 8, 7, 6, 1, 2]\n input u: f32[2, 2, 4]\n y = ScatterElements(x, i, u) {axis = 1}\n output y: f32[3, 9, 4]",
            "input x: i32[3, 7]\n input i: i64[5, 6]\n input u: i32[5, 6]\n y = ScatterElements(x, i, u) {reduction = \"mul\"}\n output y: i32[3, 7]",
            "input x: f16[3, 7]\n input i: i64[5, 6]\n input u: f16[5, 6]\n y = ScatterElements(x, i, u) {reduction = \"min\"}\n output y: f16[3, 7]",
            "input x: f32[3, n]\n input i: i64[1, k]\n input u: f32[1, k]\n y = ScatterElements(x, i, u) {axis = 1, reduction = \"add\"}\n output y: f32[3, n]",
        ],
    ),
    onnx(
        "ScatterND",
        parse_nd,
        &[
            "input x: f32[4, n]\n const i: i64[2, 1] = [3, 1]\n input u: f32[2, n]\n y = ScatterND(x, i, u)\n output y: f32[4, n]",
            "input x: f32[3, 3, 8]\n const i: i64[2, 2] = [-1, 0, 1, 2]\n input u: f32[2, 8]\n y = ScatterND(x, i, u)\n output y: f32[3, 3, 8]",
            "input x: u8[3, 8]\n const i: i64[2, 1] = [2, 0]\n input u: u8[2, 8]\n y = ScatterND(x, i, u)\n output y: u8[3, 8]",
            "input x: f16[5, 3]\n const i: i64[4, 2] = [2, 0, 4, 1, 0, 0, 2, 2]\n input u: f16[4]\n y = ScatterND(x, i, u)\n output y: f16[5, 3]",
            "input x: f32[3, 70]\n input i: i64[2, 3, 1]\n input u: f32[2, 3, 70]\n y = ScatterND(x, i, u) {reduction = \"add\"}\n output y: f32[3, 70]",
            "input x: f32[3, 3]\n input i: i64[6, 2]\n input u: f32[6]\n y = ScatterND(x, i, u) {reduction = \"max\"}\n output y: f32[3, 3]",
            "input x: f32\n input i: i64[2, 1]\n input u: f32\n y = ScatterND(x, i, u)\n output y: f32",
        ],
    ),
    onnx(
        "TensorScatter",
        parse_tensor_scatter,
        &[
            "opset 24\n input past: f16[b, 8, 64, 16]\n input new: f16[b, 8, s, 16]\n input at: i64[b]\n y = TensorScatter(past, new, at)\n output y: f16[b, 8, 64, 16]",
        ],
    ),
];

/// What becomes of the old element and the update.
#[derive(Clone, Copy, PartialEq)]
enum Reduction {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

impl Reduction {
    fn parse(attrs: &Attrs) -> Result<Reduction> {
        Ok(match attrs.str("reduction") {
            None | Some("none") => Reduction::Replace,
            Some("add") => Reduction::Add,
            Some("mul") => Reduction::Mul,
            Some("max") => Reduction::Max,
            Some("min") => Reduction::Min,
            Some(other) => {
                let why = format!("attribute reduction is {other:?}");
                return Err(Error::parse("", why));
            }
        })
    }

    fn formula(self) -> &'static str {
        match self {
            Reduction::Replace => "update",
            Reduction::Add => "old + update",
            Reduction::Mul => "old * update",
            Reduction::Max => "max(old, update)",
            Reduction::Min => "min(old, update)",
        }
    }
}

struct ScatterElements {
    axis: i64,
    reduction: Reduction,
}

fn parse_elements(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    Ok(Box::new(ScatterElements {
        axis: attrs.int("axis").unwrap_or(0),
        reduction: Reduction::parse(attrs)?,
    }))
}

impl Op for ScatterElements {
    /// x, indices, updates: one rank; indices and updates one shape -> the shape of x.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, indices, updates) = (tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?);
        let dtype = same_dtype(inputs, [0, 2])?;
        expect_index(inputs, 1)?;
        if let Some(shape) = &x.shape {
            axis_in(shape.rank(), self.axis)?;
            expect_rank(inputs, 1, shape.rank())?;
        }
        unify_shapes(
            indices.shape.as_ref(),
            updates.shape.as_ref(),
            "indices and updates",
        )?;
        Ok(vec![fact(dtype, x.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (sizes, picked) = (call.sizes(0), call.sizes(1));
        let axis = axis_in(sizes.len(), self.axis).expect("infer has accepted the axis");
        let (mut y_strides, mut strides) = (dense_strides(&sizes), dense_strides(&picked));
        let (y_stride, stride) = (y_strides.remove(axis), strides.remove(axis));
        let mut lines = picked.clone();
        let n_steps = lines.remove(axis);
        let kernel = Kernel::new("scatter_elements", include_str!("scatter_elements.wgsl"))
            .param("size", sizes[axis])
            .param("y_stride", y_stride)
            .param("updates_stride", stride)
            .snippet(include_str!("gather_index.wgsl"));
        let scatter = Scatter {
            kernel: collapse(&lines, &[y_strides, strides])
                .declare(kernel)
                .read("picks", call.input(1)?),
            unit: Unit::of(call.output(0)?.storage, &[1]),
            n_lines: lines.iter().product(),
            n_steps,
            updates: call.input(2)?,
        };
        scatter.dispatch(call, self.reduction)
    }
}

/// Updates that go to places of a copy of the first input.
struct Scatter {
    /// With `source_of` and `target_of`.
    kernel: Kernel,
    unit: Unit,
    /// In units; none has a target in common with another.
    n_lines: usize,
    n_steps: usize,
    updates: Port,
}

/// Steps that one invocation takes in their order: more than that, and a device may give up.
const MAX_ORDERED_STEPS: usize = 1 << 14;

impl Scatter {
    fn dispatch(self, call: &Call, reduction: Reduction) -> Result<Dispatch, Refusal> {
        if self.unit.is_packed() {
            return Err("parts of words cannot be written".into());
        }
        let (x, y) = (call.input(0)?, call.output(0)?);
        let mut dispatch = Dispatch::one(copy_all(x, y, call.sizes(0).iter().product(), call.caps));
        let kernel = self
            .kernel
            .param("n_lines", self.n_lines)
            .param("n_steps", self.n_steps);
        let kernel = self.unit.read(kernel, "updates", self.updates);
        dispatch.launches.push(if reduction == Reduction::Replace {
            let n_units = self.n_lines * self.n_steps;
            self.unit
                .write(kernel, y)
                .snippet(include_str!("scatter.wgsl"))
                .launch(grid(n_units.div_ceil(64), call.caps))
        } else {
            if self.n_steps > MAX_ORDERED_STEPS {
                return Err("too many updates for one invocation".into());
            }
            let formula = reduction.formula();
            kernel
                .read_write("y", y)
                .snippet(&format!("alias cell = {};", y.storage.element()))
                .snippet(&format!(
                    "fn reduce(old: y_value, update: y_value) -> y_value {{ return {formula}; }}"
                ))
                .snippet(include_str!("scatter_in_order.wgsl"))
                .launch(grid(self.n_lines.div_ceil(64), call.caps))
        });
        Ok(dispatch)
    }
}

struct ScatterNd {
    reduction: Reduction,
}

fn parse_nd(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let reduction = Reduction::parse(attrs)?;
    Ok(Box::new(ScatterNd { reduction }))
}

impl Op for ScatterNd {
    /// x: [d1, .., dk, rest..], indices: [i.., k], updates: [i.., rest..] -> the shape of x.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, indices, updates) = (tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?);
        let dtype = same_dtype(inputs, [0, 2])?;
        expect_index(inputs, 1)?;
        let y = fact(dtype, x.shape.clone());
        let (Some(shape), Some(picks)) = (&x.shape, &indices.shape) else {
            return Ok(vec![y]);
        };
        let refuse = || Error::shape("", format!("{picks} cannot index {shape}"));
        let (depth, outer) = picks.split_last().ok_or_else(refuse)?;
        let Some(depth) = depth.size() else {
            return Ok(vec![y]);
        };
        let rest = shape.get(depth..).ok_or_else(refuse)?;
        let expected = [outer, rest].concat().into_iter().collect();
        unify_shapes(
            Some(&expected),
            updates.shape.as_ref(),
            "indexed places and updates",
        )?;
        Ok(vec![y])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (sizes, picks) = (call.sizes(0), call.sizes(1));
        let (&depth, outer) = picks.split_last().expect("infer has refused scalars");
        let y = call.output(0)?;
        let rest: usize = sizes[depth..].iter().product();
        let unit = match self.reduction {
            Reduction::Replace => Unit::of(y.storage, &[rest]),
            _ => Unit::of(y.storage, &[1]),
        };
        let scatter = Scatter {
            kernel: Kernel::new("scatter_nd", include_str!("scatter_nd.wgsl"))
                .params("size", &sizes[..depth])
                .snippet(&nd_index(depth))
                .snippet(include_str!("gather_index.wgsl"))
                .read("picks", call.input(1)?),
            unit,
            n_lines: rest / unit.n_elems,
            n_steps: outer.iter().product(),
            updates: call.input(2)?,
        };
        scatter.dispatch(call, self.reduction)
    }
}

struct TensorScatter {
    axis: i64,
}

fn parse_tensor_scatter(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis").unwrap_or(-2);
    Ok(Box::new(TensorScatter { axis }))
}

impl Op for TensorScatter {
    /// cache: [b, .., longest, ..], update: [b, .., new, ..], write indices: [b] -> the cache's.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (cache, update) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let dtype = same_dtype(inputs, 0..2)?;
        if let (Some(cache), Some(update)) = (&cache.shape, &update.shape) {
            let axis = axis_in(cache.rank(), self.axis)?;
            let fits = |(idx, (old, new)): (usize, (&Dim, &Dim))| match (old, new) {
                (Dim::Size(old), Dim::Size(new)) if idx == axis => new <= old,
                _ => idx == axis || unify(old, new).is_some(),
            };
            let mut pairs = cache.iter().zip(update.iter()).enumerate();
            if axis == 0 || cache.rank() != update.rank() || !pairs.all(fits) {
                let why = format!("{update} does not fit into {cache} along axis {axis}");
                return Err(Error::shape("", why));
            }
        }
        if inputs.get(2).is_some() {
            expect_rank(inputs, 2, 1)?;
        }
        Ok(vec![fact(dtype, cache.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (sizes, new) = (call.sizes(0), call.sizes(1));
        let axis = axis_in(sizes.len(), self.axis).expect("infer has accepted the axis");
        let y = call.output(0)?;
        let inner: usize = sizes[axis + 1..].iter().product();
        let n_heads: usize = sizes[..axis].iter().product();
        let unit = Unit::of(y.storage, &[inner]);
        let kernel = Kernel::new("scatter_cache", include_str!("scatter_cache.wgsl"))
            .param("heads", sizes[1..axis].iter().product())
            .param("longest", sizes[axis])
            .param("inner", inner / unit.n_elems);
        let kernel = if call.has_input(2) {
            kernel
                .read("picks", call.input(2)?)
                .snippet("fn first(batch: u32) -> u32 { return u32(load_picks(batch)); }")
        } else {
            kernel.snippet("fn first(batch: u32) -> u32 { return 0u; }")
        };
        let scatter = Scatter {
            kernel,
            unit,
            n_lines: n_heads * inner / unit.n_elems,
            n_steps: new[axis],
            updates: call.input(1)?,
        };
        scatter.dispatch(call, Reduction::Replace)
    }
}
