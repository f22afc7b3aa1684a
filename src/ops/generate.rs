//! Tensors made from a shape or a few numbers: `Constant`, `ConstantOfShape`, `Range`, `EyeLike`,
//! `OneHot`.

use super::pointwise::pointwise;
use super::rules::{
    axis_in, dtype_attr, expect_dtype, expect_rank, expect_rank_limit, fact, is_number, onnx,
    same_dtype, scalar, target_dims, tensor, with_value,
};
use super::{Attr, Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::kernel::{Call, Dispatch, Kernel, Map, Refusal};
use crate::tensor::{DType, Dim, Fact, MAX_VALUE_ELEMENTS, Shape, Tensor};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Constant",
        parse_constant,
        &[
            "y = Constant() {value = f16[1, 2] [1.0, 2.0]}\n output y: f16[1, 2]",
            "s = Constant() {value_ints = [2, 3]}\n y = ConstantOfShape(s)\n output y: f32[2, 3]",
            "y = Constant() {value_string = \"a\"}\n output y: str[]",
            "y = Constant() {value_floats = [0.5]}\n output y: f32[1]",
        ],
    ),
    onnx(
        "ConstantOfShape",
        parse_constant_of_shape,
        &[
            "input s: i64[3]\n y = ConstantOfShape(s)\n output y: f32[?, ?, ?]",
            "const s: i64[0] = []\n y = ConstantOfShape(s) {value = bool[1] [true]}\n output y: bool[]",
            "const s: i64[1] = [2]\n t = ConstantOfShape(s) {value = i64[1] [4]}\n y = ConstantOfShape(t)\n output y: f32[4, 4]",
            "input s: i64[?]\n y = ConstantOfShape(s) {value = i8[1] [4]}\n output y: i8",
        ],
    ),
    onnx(
        "EyeLike",
        parse_eye_like,
        &[
            "input x: i32[n, 3]\n y = EyeLike(x)\n output y: i32[n, 3]",
            "input x: i32[n, 3]\n y = EyeLike(x) {dtype = 1, k = -1}\n output y: f32[n, 3]",
            "input x: f32[n, 5]\n y = EyeLike(x) {dtype = 9, k = 1}\n output y: bool[n, 5]",
        ],
    ),
    onnx(
        "OneHot",
        parse_one_hot,
        &[
            "input i: i64[n, 3]\n const d: i64[] = [10]\n input v: f32[2]\n y = OneHot(i, d, v) {axis = 1}\n output y: f32[n, 10, 3]",
            "const i: i32[5] = [0, 3, -1, -4, 7]\n const d: i64[] = [4]\n input v: f16[2]\n y = OneHot(i, d, v) {axis = 0}\n output y: f16[4, 5]",
            "input i: f32[n]\n const d: f32[1] = [4.0]\n input v: i8[2]\n y = OneHot(i, d, v)\n output y: i8[n, 4]",
            "input i: i64[n]\n input d: i64[]\n input v: f32[2]\n y = OneHot(i, d, v)\n output y: f32[n, ?]",
        ],
    ),
    onnx(
        "Range",
        |_, _| Ok(Box::new(Range)),
        &[
            "const a: i64[] = [10]\n const b: i64[] = [4]\n const d: i64[] = [-4]\n y = Range(a, b, d)\n z = ConstantOfShape(y)\n output y: i64[2]\n output z: f32[10, 6]",
            "input x: f32[n, 2]\n v = Shape(x)\n const a: i64[] = [0]\n const d: i64[] = [1]\n const i: i64[] = [0]\n b = Gather(v, i)\n y = Range(a, b, d)\n output y: i64[n]",
            "const a: f32[] = [1.0]\n const b: f32[] = [2.25]\n const d: f32[] = [0.5]\n y = Range(a, b, d)\n output y: f32[3]",
            "const a: i64[] = [3]\n const d: i64[] = [1]\n y = Range(a, a, d)\n output y: i64[0]",
        ],
    ),
];

struct Constant {
    /// Unknown for a sparse tensor.
    fact: Fact,
}

fn parse_constant(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let of = |dtype: DType, shape: Shape| Fact::tensor(dtype, shape);
    let vector = |len: usize| Shape::known(&[len]);
    let mut found = Fact::default();
    for (name, attr) in attrs.iter() {
        found = match (name, attr) {
            ("value", Attr::Tensor(tensor)) => Fact::of(tensor),
            ("value_float", Attr::Float(_)) => of(DType::F32, Shape::scalar()),
            ("value_floats", Attr::Floats(list)) => of(DType::F32, vector(list.len())),
            ("value_int", Attr::Int(number)) => Fact::of(&Tensor::scalar(*number)),
            ("value_ints", Attr::Ints(list)) => Fact::of(&Tensor::vector(list)),
            ("value_string", Attr::Str(_)) => of(DType::Str, Shape::scalar()),
            ("value_strings", Attr::Strs(list)) => of(DType::Str, vector(list.len())),
            _ => continue,
        };
    }
    Ok(Box::new(Constant { fact: found }))
}

impl Op for Constant {
    fn infer(&self, _: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![self.fact.clone()])
    }
}

struct ConstantOfShape {
    dtype: DType,
    /// The element if it is an integer.
    element: Option<i64>,
    /// The element if it is a float.
    real: f64,
}

fn parse_constant_of_shape(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let Some(value) = attrs.tensor("value") else {
        return Ok(Box::new(ConstantOfShape {
            dtype: DType::F32,
            element: None,
            real: 0.0,
        }));
    };
    if value.len() != 1 {
        let why = format!("attribute value has {} elements, expected one", value.len());
        return Err(Error::parse("", why));
    }
    Ok(Box::new(ConstantOfShape {
        dtype: value.dtype(),
        element: value
            .to_i64s()
            .and_then(|elements| elements.first().copied()),
        real: value
            .to_f64s()
            .and_then(|elements| elements.first().copied())
            .unwrap_or_default(),
    }))
}

impl Op for ConstantOfShape {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        tensor(inputs, 0)?;
        let Some(dims) = target_dims(inputs, 0)? else {
            return Ok(vec![fact(Some(self.dtype), None)]);
        };
        if let Some(dim) = dims
            .iter()
            .find(|dim| matches!(dim, Dim::Size(n) if *n < 0))
        {
            return Err(Error::shape("", format!("{dim} in the shape is no size")));
        }
        let y = Fact::tensor(self.dtype, Shape(dims));
        let n_elements = y.shape.as_ref().and_then(|shape| shape.elements().size());
        let value = self
            .element
            .zip(n_elements.filter(|&n| n <= MAX_VALUE_ELEMENTS));
        let value = value.map(|(element, n)| vec![Dim::Size(element); n]);
        Ok(vec![with_value(y, value)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let y = call.output(0)?;
        let word = match self.element {
            None => (self.real as f32).to_bits().cast_signed(),
            Some(element) if self.dtype == DType::U32 => (element as u32).cast_signed(),
            Some(element) => i32::try_from(element).map_err(|_| "its value has 64 bits")?,
        };
        let value = match y.storage.value() {
            "bool" => "params.value != 0".to_owned(),
            value => format!("bitcast<{value}>(params.value)"),
        };
        let apply = format!("fn apply() -> out {{ return out({value}); }}");
        let kernel = Kernel::new("constant_of_shape", &apply).param_i32("value", word);
        let y = (y, call.output_sizes(0));
        Ok(Dispatch::one(pointwise(kernel, &[], y, call.caps)))
    }
}

struct EyeLike {
    dtype: Option<DType>,
    /// Which diagonal has the ones, above the main one where it is positive.
    diagonal: i64,
}

fn parse_eye_like(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let dtype = attrs
        .int("dtype")
        .map(|number| dtype_attr(number, "dtype"))
        .transpose()?;
    let diagonal = attrs.int("k").unwrap_or(0);
    Ok(Box::new(EyeLike { dtype, diagonal }))
}

impl Op for EyeLike {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_rank(inputs, 0, 2)?;
        let shape = x.shape.clone().unwrap_or(Shape::unknown(2));
        Ok(vec![fact(self.dtype.or(x.dtype), Some(shape))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (y, sizes) = (call.output(0)?, call.output_sizes(0));
        let diagonal = i32::try_from(self.diagonal).map_err(|_| "k has 64 bits")?;
        let body = "fn element(i: u32) -> y_value {
  let row = i / params.n_cols;
  return y_value(i32(i - row * params.n_cols) - i32(row) == params.diagonal);
}
";
        let kernel = Map::kernel("eye_like", body)
            .param("n_cols", sizes[1])
            .param_i32("diagonal", diagonal);
        let n_elems = sizes.iter().product();
        Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
    }
}

struct OneHot {
    axis: i64,
}

fn parse_one_hot(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let axis = attrs.int("axis").unwrap_or(-1);
    Ok(Box::new(OneHot { axis }))
}

impl Op for OneHot {
    /// indices: [a.., b..], values: [off, on] -> [a.., depth, b..]
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let (indices, values) = (tensor(inputs, 0)?, tensor(inputs, 2)?);
        tensor(inputs, 1)?;
        if let Some(shape) = &values.shape
            && matches!(shape.elements(), Dim::Size(n) if n != 2)
        {
            let why = format!("values have shape {shape}, expected off and on");
            return Err(Error::shape("", why));
        }
        // The depth may be given as a float.
        let float_depth = inputs
            .constant(1)
            .and_then(Tensor::to_f64s)
            .and_then(|list| {
                let depth = *list.first()?;
                (depth.fract() == 0.0 && depth.abs() < 1e15).then_some(Dim::Size(depth as i64))
            });
        let depth = scalar(inputs, 1)?.or(float_depth).unwrap_or(Dim::Unknown);
        if matches!(depth, Dim::Size(n) if n < 0) {
            return Err(Error::shape("", format!("a depth of {depth}")));
        }
        let Some(shape) = &indices.shape else {
            return Ok(vec![fact(values.dtype, None)]);
        };
        let axis = axis_in(expect_rank_limit(shape.rank())? + 1, self.axis)?;
        let mut dims = shape.0.clone();
        dims.insert(axis, depth);
        Ok(vec![fact(values.dtype, Some(Shape(dims)))])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let sizes = call.output_sizes(0);
        let axis = axis_in(sizes.len(), self.axis).expect("infer has accepted the axis");
        let kernel = Map::kernel("one_hot", include_str!("one_hot.wgsl"))
            .param("depth", sizes[axis])
            .param("inner", sizes[axis + 1..].iter().product())
            .read("hot", call.input(0)?)
            .read("values", call.input(2)?);
        let n_elems = sizes.iter().product();
        let y = call.output(0)?;
        Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
    }
}

/// `start, start + delta, ..` up to but without `limit`.
struct Range;

impl Op for Range {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        for idx in 0..3 {
            tensor(inputs, idx)?;
            expect_dtype(inputs, idx, is_number, "a number type")?;
        }
        let dtype = same_dtype(inputs, 0..3)?;
        let float = dtype.is_some_and(DType::is_float);
        if float {
            let length = float_length(inputs, dtype)?.map_or(Dim::Unknown, Dim::Size);
            return Ok(vec![fact(dtype, Some(Shape(vec![length])))]);
        }
        let number = |idx: usize| Ok(scalar(inputs, idx)?.unwrap_or(Dim::Unknown));
        let (start, limit, delta): (Dim, Dim, Dim) = (number(0)?, number(1)?, number(2)?);
        let length = match &delta {
            Dim::Size(0) => return Err(Error::shape("", "a delta of 0")),
            Dim::Size(delta) if *delta < 0 => {
                let step = delta.checked_neg().map_or(Dim::Unknown, Dim::Size);
                (&start - &limit).max(&Dim::Size(0)).ceil_div(&step)
            }
            Dim::Size(_) => (&limit - &start).max(&Dim::Size(0)).ceil_div(&delta),
            _ => Dim::Unknown,
        };
        let value = length.size().filter(|&n| n <= MAX_VALUE_ELEMENTS).map(|n| {
            let nth = |idx: usize| &start + &(&delta * &Dim::from(idx));
            (0..n).map(nth).collect()
        });
        let y = fact(dtype, Some(Shape(vec![length])));
        Ok(vec![with_value(y, value)])
    }

    fn dispatch(&self, call: &Call) -> Result<Dispatch, Refusal> {
        let (start, delta, y) = (call.input(0)?, call.input(2)?, call.output(0)?);
        let body = "fn element(i: u32) -> y_value {
  return load_start(0u) + y_value(i) * load_delta(0u);
}
";
        let kernel = Map::kernel("range", body)
            .read("start", start)
            .read("delta", delta);
        let n_elems = call.output_sizes(0).iter().product();
        Ok(Dispatch::one(Map::launch(kernel, y, n_elems, call.caps)))
    }
}

/// The length of a range of constant floats, whose difference has the precision of their type.
fn float_length(inputs: &Inputs, dtype: Option<DType>) -> Result<Option<i64>> {
    let number = |idx: usize| inputs.constant(idx)?.to_f64s()?.first().copied();
    let (Some(start), Some(limit), Some(delta)) = (number(0), number(1), number(2)) else {
        return Ok(None);
    };
    let reach = match dtype {
        Some(DType::F64) => limit - start,
        _ => f64::from((limit - start) as f32),
    };
    let length = (reach / delta).ceil().max(0.0);
    if delta == 0.0 || !length.is_finite() {
        let why = format!("a range from {start} to {limit} by {delta}");
        return Err(Error::shape("", why));
    }
    Ok((length < 1e15).then_some(length as i64))
}
