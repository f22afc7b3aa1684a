//! A copy with some elements replaced: `Scatter`, `ScatterElements`, `ScatterND`, `TensorScatter`.

use super::rules::{
    axis_in, expect_index, expect_rank, fact, onnx, same_dtype, tensor, unify, unify_shapes,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::{Dim, Fact};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Scatter",
        parse_elements,
        &[
            "opset 9\n input x: f32[3, n]\n input i: i64[2, 2]\n input u: f32[2, 2]\n y = Scatter(x, i, u)\n output y: f32[3, n]",
        ],
    ),
    onnx(
        "ScatterElements",
        parse_elements,
        &[
            "input x: f32[3, n]\n input i: i64[1, k]\n input u: f32[1, k]\n y = ScatterElements(x, i, u) {axis = 1, reduction = \"add\"}\n output y: f32[3, n]",
        ],
    ),
    onnx(
        "ScatterND",
        |_, _| Ok(Box::new(ScatterNd)),
        &[
            "input x: f32[4, n]\n input i: i64[2, 1]\n input u: f32[2, n]\n y = ScatterND(x, i, u)\n output y: f32[4, n]",
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

struct ScatterElements {
    axis: i64,
}

fn parse_elements(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis").unwrap_or(0);
    Ok(Box::new(ScatterElements { axis }))
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
}

struct ScatterNd;

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
}
