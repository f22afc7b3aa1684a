//! Random tensors: `RandomNormal`, `RandomUniform`, their `Like` forms, `Bernoulli`,
//! `Multinomial`.

use super::rules::{dtype_attr, expect_rank, fact, onnx, required, tensor};
use super::{Attrs, Inputs, Op, OpDef};
use crate::error::{Error, Result};
use crate::tensor::{DType, Dim, Fact, Shape};

pub const DEFS: &[OpDef] = &[
    onnx(
        "Bernoulli",
        parse_like,
        &["input x: f32[n, 3]\n y = Bernoulli(x) {dtype = 9}\n output y: bool[n, 3]"],
    ),
    onnx(
        "Multinomial",
        parse_multinomial,
        &[
            "input x: f32[n, 5]\n y = Multinomial(x) {sample_size = 4}\n output y: i32[n, 4]",
            "input x: f32\n y = Multinomial(x) {dtype = 7}\n output y: i64[?, 1]",
        ],
    ),
    onnx(
        "RandomNormal",
        parse_shaped,
        &["y = RandomNormal() {shape = [2, 3]}\n output y: f32[2, 3]"],
    ),
    onnx(
        "RandomNormalLike",
        parse_like,
        &["input x: f16[n, 3]\n y = RandomNormalLike(x)\n output y: f16[n, 3]"],
    ),
    onnx(
        "RandomUniform",
        parse_shaped,
        &["y = RandomUniform() {shape = [0], dtype = 11}\n output y: f64[0]"],
    ),
    onnx(
        "RandomUniformLike",
        parse_like,
        &["input x: i32[n]\n y = RandomUniformLike(x) {dtype = 1}\n output y: f32[n]"],
    ),
];

struct Shaped {
    dtype: DType,
    shape: Shape,
}

fn parse_shaped(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let shape = required(attrs.ints("shape"), "shape")?;
    if let Some(size) = shape.iter().find(|&&size| size < 0) {
        return Err(Error::parse(
            "",
            format!("attribute shape has a size of {size}"),
        ));
    }
    let dtype = attrs.int("dtype").unwrap_or(DType::F32.onnx().into());
    Ok(Box::new(Shaped {
        dtype: dtype_attr(dtype, "dtype")?,
        shape: shape.iter().copied().collect(),
    }))
}

impl Op for Shaped {
    fn infer(&self, _: &Inputs) -> Result<Vec<Fact>> {
        Ok(vec![Fact::tensor(self.dtype, self.shape.clone())])
    }
}

/// The shape is the input's, the type too unless another is asked for.
struct Like {
    dtype: Option<DType>,
}

fn parse_like(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let dtype = attrs
        .int("dtype")
        .map(|number| dtype_attr(number, "dtype"))
        .transpose()?;
    Ok(Box::new(Like { dtype }))
}

impl Op for Like {
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        Ok(vec![fact(self.dtype.or(x.dtype), x.shape.clone())])
    }
}

struct Multinomial {
    dtype: DType,
    sample_size: i64,
}

fn parse_multinomial(attrs: &Attrs, _: i64) -> Result<Box<dyn Op>> {
    let sample_size = attrs.int("sample_size").unwrap_or(1);
    if sample_size < 0 {
        return Err(Error::parse(
            "",
            format!("attribute sample_size is {sample_size}"),
        ));
    }
    let dtype = attrs.int("dtype").unwrap_or(DType::I32.onnx().into());
    Ok(Box::new(Multinomial {
        dtype: dtype_attr(dtype, "dtype")?,
        sample_size,
    }))
}

impl Op for Multinomial {
    /// x: [batch, classes] -> [batch, samples]
    fn infer(&self, inputs: &Inputs) -> Result<Vec<Fact>> {
        let x = tensor(inputs, 0)?;
        expect_rank(inputs, 0, 2)?;
        let batch = x
            .shape
            .as_ref()
            .map_or(Dim::Unknown, |shape| shape[0].clone());
        let shape = Shape(vec![batch, Dim::Size(self.sample_size)]);
        Ok(vec![Fact::tensor(self.dtype, shape)])
    }
}
