//! Host tensors to rten's values and back.

use half::{bf16, f16};
use rten::Value;
use rten_tensor::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Element, Tensor};

/// # Errors
/// `INVALID_INPUT` for an integer that 32 bits do not hold, `DTYPE_MISMATCH` for types that rten
/// has nothing near.
pub(super) fn to_rten(tensor: &Tensor) -> Result<Value> {
    match tensor.dtype() {
        DType::F32 => value::<f32, f32>(tensor, |x| x),
        DType::F16 => value::<f16, f32>(tensor, f16::to_f32),
        DType::BF16 => value::<bf16, f32>(tensor, bf16::to_f32),
        DType::F64 => narrowed_floats(tensor),
        DType::I8 => value::<i8, i8>(tensor, |x| x),
        DType::U8 => value::<u8, u8>(tensor, |x| x),
        DType::I32 => value::<i32, i32>(tensor, |x| x),
        DType::Bool => value::<u8, i32>(tensor, |x| i32::from(x != 0)),
        DType::I16 | DType::U16 | DType::I64 | DType::U32 | DType::U64 => narrowed(tensor),
        dtype => {
            let why = format!("the cpu backend has no {dtype}");
            Err(Error::dtype("", why))
        }
    }
}

fn value<T: Element, R>(tensor: &Tensor, convert: impl Fn(T) -> R) -> Result<Value>
where
    Value: From<rten_tensor::Tensor<R>>,
{
    let elements = tensor
        .elements::<T>()
        .expect("the caller has matched the type");
    let elements: Vec<R> = elements.iter().map(|&x| convert(x)).collect();
    Ok(rten_tensor::Tensor::from_data(tensor.sizes(), elements).into())
}

/// Doubles lose digits in f32, which tolerances allow for, but must not become infinite.
fn narrowed_floats(tensor: &Tensor) -> Result<Value> {
    let elements = tensor
        .elements::<f64>()
        .expect("the caller has matched the type");
    let too_large = |x: &&f64| x.is_finite() && x.abs() > f64::from(f32::MAX);
    if let Some(x) = elements.iter().find(too_large) {
        let why = format!("{x} does not fit the 32-bit floats of the cpu backend");
        return Err(Error::new(ErrorKind::InvalidInput, "", why));
    }
    value::<f64, f32>(tensor, |x| x as f32)
}

fn narrowed(tensor: &Tensor) -> Result<Value> {
    let too_large = |n: String| {
        let why = format!("{n} does not fit the 32-bit integers of the cpu backend");
        Error::new(ErrorKind::InvalidInput, "", why)
    };
    let wide = tensor
        .to_i64s()
        .ok_or_else(|| too_large("an element beyond int64".into()))?;
    let narrow: Result<Vec<i32>> = wide
        .into_iter()
        .map(|n| i32::try_from(n).map_err(|_| too_large(n.to_string())))
        .collect();
    Ok(rten_tensor::Tensor::from_data(tensor.sizes(), narrow?).into())
}

/// # Errors
/// `INTERNAL` when rten gives a type that cannot carry the declared one.
pub(super) fn from_rten(value: Value, declared: Option<DType>) -> Result<Tensor> {
    let wrong = |got: &str| {
        let declared = declared.map_or("?", DType::name);
        Error::internal("", format!("the cpu backend gave {got} for {declared}"))
    };
    match value {
        Value::FloatTensor(tensor) => {
            let (shape, data) = (tensor.shape().to_vec(), tensor.into_data());
            match declared.unwrap_or(DType::F32) {
                DType::F32 => Tensor::from_vec(&shape, data),
                DType::F64 => Tensor::from_vec(&shape, map(data, f64::from)),
                DType::F16 => Tensor::from_vec(&shape, map(data, f16::from_f32)),
                DType::BF16 => Tensor::from_vec(&shape, map(data, bf16::from_f32)),
                _ => Err(wrong("f32")),
            }
        }
        Value::Int32Tensor(tensor) => {
            let (shape, data) = (tensor.shape().to_vec(), tensor.into_data());
            match declared.unwrap_or(DType::I32) {
                DType::I32 => Tensor::from_vec(&shape, data),
                DType::I64 => Tensor::from_vec(&shape, map(data, i64::from)),
                DType::Bool => {
                    Tensor::from_bytes(DType::Bool, &shape, map(data, |n| u8::from(n != 0)))
                }
                _ => Err(wrong("i32")),
            }
        }
        Value::Int8Tensor(tensor) if declared.is_none_or(|dtype| dtype == DType::I8) => {
            let shape = tensor.shape().to_vec();
            Tensor::from_vec(&shape, tensor.into_data())
        }
        Value::UInt8Tensor(tensor) if declared.is_none_or(|dtype| dtype == DType::U8) => {
            let shape = tensor.shape().to_vec();
            Tensor::from_vec(&shape, tensor.into_data())
        }
        Value::Int8Tensor(_) => Err(wrong("i8")),
        Value::UInt8Tensor(_) => Err(wrong("u8")),
        _ => Err(wrong("a sequence")),
    }
}

fn map<T, R>(elements: Vec<T>, convert: impl Fn(T) -> R) -> Vec<R> {
    elements.into_iter().map(convert).collect()
}
