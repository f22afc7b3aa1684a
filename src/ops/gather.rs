//! Elements picked by index or condition: `Gather`, `GatherElements`, `GatherND`, `Compress`,
//! `NonZero`, `Unique`.

use super::rules::{
    axis_in, expect_dtype, expect_index, expect_rank, expect_rank_limit, fact, is_bool, onnx,
    tensor, unify, with_value,
};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Map, Refusal, Unit, collapse, dense_strides};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Compress",
        parse_compress,
        &[
            "input x: f32[2, n]\n input c: bool[2]\n y = Compress(x, c) {axis = 0}\n output y: f32[?, n]",
            "input x: f32[2, n]\n input c: bool[4]\n y = Compress(x, c)\n output y: f32[?]",
        ],
    ),
    onnx(
        "Gather",
        parse_gather,
        &[
            "input x: f32[v, 8]\n input i: i64[n, s]\n y = Gather(x, i)\n output y: f32[n, s, 8]",
            "input x: f32[n, 3, 4]\n const i: i64[] = [-1]\n y = Gather(x, i) {axis = 1}\n output y: f32[n, 4]",
            "input x: f32[2, 3, 5]\n const i: i32[4] = [2, -3, 0, -1]\n y = Gather(x, i) {axis = 1}\n output y: f32[2, 4, 5]",
            "input x: f16[3, 7]\n input i: i64[2, 2]\n y = Gather(x, i) {axis = 1}\n output y: f16[3, 2, 2]",
            "input x: u8[3, 6]\n input i: i64[5]\n y = Gather(x, i)\n output y: u8[5, 6]",
            "input x: i8[3, 8]\n input i: i64[5]\n y = Gather(x, i)\n output y: i8[5, 8]",
            "input x: bool[3, 16]\n input i: i64[5]\n y = Gather(x, i)\n output y: bool[5, 16]",
            "input x: i64[3]\n input i: i64\n y = Gather(x, i)\n output y: i64",
            "input x: f32[n, 3, 4]\n v = Shape(x)\n const i: i64[2] = [-1, 0]\n t = Gather(v, i)\n y = ConstantOfShape(t)\n output y: f32[4, n]",
            "input x: str\n input i: i32[2]\n y = Gather(x, i)\n output y: str",
        ],
    ),
    onnx(
        "GatherElements",
        parse_gather_elements,
        &[
            "input x: f32[3, 4, 5]\n const i: i64[2, 2, 3] = [0, -1, 2, 1, 1, -3, 0, 2, -2, 1, 1, 0]\n y = GatherElements(x, i)\n output y: f32[2, 2, 3]",
            "input x: f16[5, 3, 4]\n input i: i32[5, 3, 7]\n y = GatherElements(x, i) {axis = -1}\n output y: f16[5, 3, 7]",
            "input x: u8[3, 5]\n input i: i64[7, 5]\n y = GatherElements(x, i)\n output y: u8[7, 5]",
            "input x: f32[3, n]\n input i: i64[2, m]\n y = GatherElements(x, i) {axis = 1}\n output y: f32[2, m]",
        ],
    ),
    onnx(
        "GatherND",
        parse_gather_nd,
        &[
            "input x: f32[2, 3, n]\n input i: i64[m, 2]\n y = GatherND(x, i)\n output y: f32[m, n]",
            "input x: f32[b, 3, n]\n input i: i64[b, 1]\n y = GatherND(x, i) {batch_dims = 1}\n output y: f32[b, n]",
            "input x: i8[3, 3, 5]\n const i: i64[2, 2] = [-1, 0, 1, -3]\n y = GatherND(x, i)\n output y: i8[2, 5]",
            "input x: f16[2, 3, 3, 8]\n input i: i64[2, 4, 2]\n y = GatherND(x, i) {batch_dims = 1}\n output y: f16[2, 4, 8]",
            "input x: bool[3, 3]\n input i: i64[7, 2]\n y = GatherND(x, i)\n output y: bool[7]",
            "input x: f32[2, 3]\n input i: i64[2, ?]\n y = GatherND(x, i)\n output y: f32",
        ],
    ),
    onnx(
        "NonZero",
        |_, _| Ok(Box::new(NonZero)),
        &["input x: bool[2, n, 4]\n y = NonZero(x)\n output y: i64[3, ?]"],
    ),
    onnx(
        "Unique",
        parse_unique,
        &[
            "input x: f32[2, n]\n y, i, inverse, c = Unique(x)\n output y: f32[?]\n output i: i64[?]\n output inverse: i64[(n * 2)]\n output c: i64[?]",
            "input x: f32[2, n]\n y, _, inverse = Unique(x) {axis = 1}\n output y: f32[2, ?]\n output inverse: i64[n]",
        ],
    ),
];

struct Gather {
    axis: i64,
}

fn parse_gather(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis").unwrap_or(0);
    Ok(Box::new(Gather { axis }))
}

impl Op for Gather {
    /// x: [a.., k, b..], indices: [i..] -> [a.., i.., b..]
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        expect_index(inputs, 1)?;
        let axis = x
            .shape
            .as_ref()
            .map(|shape| axis_in(shape.rank(), self.axis))
            .transpose()?;
        if let (Some(shape), Some(axis), Some(indices)) = (&x.shape, axis, inputs.ints(1))
            && let Dim::Size(size) = shape[axis]
            && let Some(index) = indices
                .iter()
                .find(|&&index| index < size.saturating_neg() || index >= size)
        {
            let why = format!("index {index} is outside axis {axis} of {shape}");
            return Err(Error::shape("", why));
        }
        let (Some(shape), Some(axis), Some(picks)) = (&x.shape, axis, &indices.shape) else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        let (before, after) = (&shape[..axis], &shape[axis + 1..]);
        expect_rank_limit(shape.rank() + picks.rank())?;
        let y = fact(x.dtype, Some(Shape([before, &picks[..], after].concat())));
        let value = x
            .value
            .as_ref()
            .zip(inputs.ints(1))
            .and_then(|(elements, indices)| {
                let from_end = |index: i64| {
                    if index < 0 {
                        index + elements.len() as i64
                    } else {
                        index
                    }
                };
                let pick = |&index: &i64| {
                    elements
                        .get(usize::try_from(from_end(index)).ok()?)
                        .cloned()
                };
                indices.iter().map(pick).collect()
            });
        Ok(vec![with_value(y, value)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let sizes = call.sizes(0);
        let axis = axis_in(sizes.len(), self.axis).expect("infer has accepted the axis");
        let (x, y) = (call.input(0)?, call.output(0)?);
        let inner: usize = sizes[axis + 1..].iter().product();
        let unit = Unit::of(x.storage, &[inner]);
        let kernel = Map::kernel("gather", include_str!("gather.wgsl"))
            .param("size", sizes[axis])
            .param("n_picks", call.sizes(1).iter().product())
            .param("inner", inner / unit.n_elems)
            .snippet(include_str!("gather_index.wgsl"));
        let kernel = unit.read(kernel, "x", x).read("picks", call.input(1)?);
        let n_elems = call.output_sizes(0).iter().product();
        Ok(Dispatch::one(unit.map(kernel, y, n_elems, call.caps)))
    }
}

struct GatherElements {
    axis: i64,
}

fn parse_gather_elements(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis").unwrap_or(0);
    Ok(Box::new(GatherElements { axis }))
}

impl Op for GatherElements {
    /// x, indices: the same rank -> the shape of the indices.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        expect_index(inputs, 1)?;
        if let Some(shape) = &x.shape {
            axis_in(shape.rank(), self.axis)?;
            expect_rank(inputs, 1, shape.rank())?;
        }
        Ok(vec![fact(x.dtype, indices.shape.clone())])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (sizes, picked) = (call.sizes(0), call.output_sizes(0));
        let axis = axis_in(sizes.len(), self.axis).expect("infer has accepted the axis");
        // The index adds the way along its own axis.
        let mut strides = dense_strides(&sizes);
        let axis_stride = std::mem::replace(&mut strides[axis], 0);
        let kernel = Map::kernel("gather_elements", include_str!("gather_elements.wgsl"))
            .param("size", sizes[axis])
            .param("axis_stride", axis_stride)
            .snippet(include_str!("gather_index.wgsl"));
        let kernel = collapse(&picked, &[strides])
            .declare(kernel)
            .read("x", call.input(0)?)
            .read("picks", call.input(1)?);
        let n_elems = picked.iter().product();
        let y = call.output(0)?;
        Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
    }
}

struct GatherNd {
    batch_dims: usize,
}

fn parse_gather_nd(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let batch_dims = attrs.int("batch_dims").unwrap_or(0);
    let batch_dims = usize::try_from(batch_dims)
        .map_err(|_| Error::parse("", format!("attribute batch_dims is {batch_dims}")))?;
    Ok(Box::new(GatherNd { batch_dims }))
}

impl Op for GatherNd {
    /// x: [b.., d1, .., dk, rest..], indices: [b.., i.., k] -> [b.., i.., rest..]
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (x, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        expect_index(inputs, 1)?;
        let (Some(shape), Some(picks)) = (&x.shape, &indices.shape) else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        let refuse = || {
            let why = format!(
                "{picks} cannot index {shape} with batch_dims {}",
                self.batch_dims
            );
            Error::shape("", why)
        };
        let Some((depth, outer)) = picks.split_last() else {
            return Err(refuse());
        };
        let b = self.batch_dims;
        if b > outer.len() || b >= shape.rank().max(1) {
            return Err(refuse());
        }
        let batch = shape[..b].iter().zip(outer).map(|(x, i)| unify(x, i));
        let batch: Vec<Dim> = batch.collect::<Option<_>>().ok_or_else(refuse)?;
        let Some(depth) = depth.size() else {
            return Ok(vec![fact(x.dtype, None)]);
        };
        let rest = b
            .checked_add(depth)
            .and_then(|start| shape.get(start..))
            .ok_or_else(refuse)?;
        expect_rank_limit(outer.len() + rest.len())?;
        Ok(vec![fact(
            x.dtype,
            Some(Shape([&batch, &outer[b..], rest].concat())),
        )])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (sizes, picks, b) = (call.sizes(0), call.sizes(1), self.batch_dims);
        let (&depth, outer) = picks.split_last().expect("infer has refused scalars");
        let (x, y) = (call.input(0)?, call.output(0)?);
        let rest: usize = sizes[b + depth..].iter().product();
        let unit = Unit::of(x.storage, &[rest]);
        let kernel = Map::kernel("gather_nd", include_str!("gather_nd.wgsl"))
            .param("rest", rest / unit.n_elems)
            .param("n_picks", outer[b..].iter().product())
            .param("batch_size", sizes[b..b + depth].iter().product())
            .snippet(&nd_index(depth))
            .params("size", &sizes[b..b + depth])
            .snippet(include_str!("gather_index.wgsl"));
        let kernel = unit.read(kernel, "x", x).read("picks", call.input(1)?);
        let n_elems = call.output_sizes(0).iter().product();
        Ok(Dispatch::one(unit.map(kernel, y, n_elems, call.caps)))
    }
}

/// `fn nd_index(pick: u32) -> u32`: the place that the numbers of pick number `pick` lead to among
/// axes of `params.size0`, `params.size1`, ..
pub(super) fn nd_index(depth: usize) -> String {
    let mut text = "fn nd_index(pick: u32) -> u32 {\n  var at = 0u;\n".to_owned();
    for axis in 0..depth {
        text.push_str(&format!(
            "  at = at * params.size{axis} + index(load_picks(pick * {depth}u + {axis}u), params.size{axis});\n"
        ));
    }
    text.push_str("  return at;\n}");
    text
}

/// How many elements remain is data.
struct Compress {
    axis: Option<i64>,
}

fn parse_compress(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis");
    Ok(Box::new(Compress { axis }))
}

impl Op for Compress {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        tensor(inputs, 1)?;
        expect_dtype(inputs, 1, is_bool, "bool")?;
        expect_rank(inputs, 1, 1)?;
        let shape = keep_some(x.shape.as_ref(), self.axis)?;
        Ok(vec![fact(x.dtype, shape)])
    }
}

/// The shape with an unknown size on the axis, or a vector of unknown length without one.
fn keep_some(shape: Option<&Shape>, axis: Option<i64>) -> Result<Option<Shape>> {
    let Some(axis) = axis else {
        return Ok(Some(Shape::unknown(1)));
    };
    let Some(shape) = shape else { return Ok(None) };
    let mut dims = shape.0.clone();
    let axis = axis_in(dims.len(), axis)?;
    dims[axis] = Dim::Unknown;
    Ok(Some(Shape(dims)))
}

struct NonZero;

impl Op for NonZero {
    /// x: rank r -> [r, found]
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let rank = tensor(inputs, 0)?.shape.as_ref().map(|shape| shape.rank());
        // For a scalar implementations give 0 rows or 1.
        let rows = rank
            .filter(|&rank| rank > 0)
            .map_or(Dim::Unknown, Dim::from);
        Ok(vec![Fact::tensor(
            DType::I64,
            Shape(vec![rows, Dim::Unknown]),
        )])
    }
}

struct Unique {
    axis: Option<i64>,
}

fn parse_unique(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis");
    Ok(Box::new(Unique { axis }))
}

impl Op for Unique {
    /// The unique elements or slices, where each came first, which one each is, and how many.
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        let shape = keep_some(x.shape.as_ref(), self.axis)?;
        let n_slices = match (&x.shape, self.axis) {
            (Some(shape), Some(axis)) => shape[axis_in(shape.rank(), axis)?].clone(),
            (Some(shape), None) => shape.elements(),
            (None, _) => Dim::Unknown,
        };
        let found = Fact::tensor(DType::I64, Shape::unknown(1));
        let inverse = Fact::tensor(DType::I64, Shape(vec![n_slices]));
        Ok(vec![fact(x.dtype, shape), found.clone(), inverse, found])
    }
}
