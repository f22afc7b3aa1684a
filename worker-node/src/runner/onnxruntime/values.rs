//! Tensors for ONNX Runtime, and its own.

use std::borrow::Cow;
use std::fmt::Debug;

use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType};
use sentinel_inference::error::{Error, Result};
use sentinel_inference::inspect::Port;
use sentinel_inference::tensor::{DType, Data, Dim, Element, Fact, Shape, Tensor};

use super::{AT, failed};

/// ONNX Runtime's types, where clients can name them too.
const TYPES: &[(TensorElementType, DType)] = &[
    (TensorElementType::Bool, DType::Bool),
    (TensorElementType::Uint8, DType::U8),
    (TensorElementType::Uint16, DType::U16),
    (TensorElementType::Uint32, DType::U32),
    (TensorElementType::Uint64, DType::U64),
    (TensorElementType::Int8, DType::I8),
    (TensorElementType::Int16, DType::I16),
    (TensorElementType::Int32, DType::I32),
    (TensorElementType::Int64, DType::I64),
    (TensorElementType::Float16, DType::F16),
    (TensorElementType::Bfloat16, DType::BF16),
    (TensorElementType::Float32, DType::F32),
    (TensorElementType::Float64, DType::F64),
    (TensorElementType::String, DType::Str),
];

/// # Errors
/// `MODEL_UNSUPPORTED` for what is no tensor, or one of a type that no client can name.
pub fn port(name: &str, value: &ValueType) -> Result<Port> {
    let refused = || {
        Error::unsupported(
            name,
            format!("expected a tensor of a type that clients have, and it is {value}"),
        )
    };
    let ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    } = value
    else {
        return Err(refused());
    };
    let dims = shape
        .iter()
        .zip(dimension_symbols.iter())
        .map(|(&size, symbol)| match size {
            0.. => Dim::Size(size),
            // Some exporters write "?" for every size that they do not know.
            _ if symbol.is_empty() || symbol == "?" => Dim::Unknown,
            _ => Dim::symbol(symbol),
        });
    Ok(Port {
        name: name.to_owned(),
        fact: Fact::tensor(dtype(*ty).ok_or_else(refused)?, Shape(dims.collect())),
    })
}

fn dtype(ty: TensorElementType) -> Option<DType> {
    let found = TYPES.iter().find(|(known, _)| *known == ty);
    found.map(|(_, dtype)| *dtype)
}

/// Numbers are not copied, where they are aligned.
pub fn to_value(tensor: &Tensor) -> Result<SessionInputValue<'_>> {
    match tensor.dtype() {
        DType::F32 => numbers::<f32>(tensor),
        DType::F64 => numbers::<f64>(tensor),
        DType::F16 => numbers::<half::f16>(tensor),
        DType::BF16 => numbers::<half::bf16>(tensor),
        DType::I8 => numbers::<i8>(tensor),
        DType::I16 => numbers::<i16>(tensor),
        DType::I32 => numbers::<i32>(tensor),
        DType::I64 => numbers::<i64>(tensor),
        DType::U8 => numbers::<u8>(tensor),
        DType::U16 => numbers::<u16>(tensor),
        DType::U32 => numbers::<u32>(tensor),
        DType::U64 => numbers::<u64>(tensor),
        DType::Bool => {
            let bools: Vec<bool> = tensor.bytes().iter().map(|&byte| byte != 0).collect();
            let value = ort::value::Tensor::from_array((tensor.sizes().to_vec(), bools));
            Ok(value.map_err(failed)?.into())
        }
        DType::Str => {
            let Data::Strings(strings) = tensor.data() else {
                unreachable!("strings are kept as such");
            };
            let value = (tensor.sizes().to_vec(), &strings[..]);
            let value = ort::value::Tensor::from_string_array(value);
            Ok(value.map_err(failed)?.into())
        }
        other => Err(Error::unsupported(AT, format!("it is not given {other}"))),
    }
}

fn numbers<T>(tensor: &Tensor) -> Result<SessionInputValue<'_>>
where
    T: Element + PrimitiveTensorElementType + Debug,
{
    let sizes = tensor.sizes().to_vec();
    let elements = tensor.elements::<T>().expect("the type was looked at");
    Ok(match elements {
        Cow::Borrowed(elements) => TensorRef::from_array_view((sizes, elements))
            .map_err(failed)?
            .into(),
        Cow::Owned(elements) => ort::value::Tensor::from_array((sizes, elements))
            .map_err(failed)?
            .into(),
    })
}

pub fn from_value(value: &DynValue) -> Result<Tensor> {
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err(Error::internal(
            AT,
            format!("expected a tensor, got {}", value.dtype()),
        ));
    };
    match ty {
        TensorElementType::Float32 => elements::<f32>(value),
        TensorElementType::Float64 => elements::<f64>(value),
        TensorElementType::Float16 => elements::<half::f16>(value),
        TensorElementType::Bfloat16 => elements::<half::bf16>(value),
        TensorElementType::Int8 => elements::<i8>(value),
        TensorElementType::Int16 => elements::<i16>(value),
        TensorElementType::Int32 => elements::<i32>(value),
        TensorElementType::Int64 => elements::<i64>(value),
        TensorElementType::Uint8 => elements::<u8>(value),
        TensorElementType::Uint16 => elements::<u16>(value),
        TensorElementType::Uint32 => elements::<u32>(value),
        TensorElementType::Uint64 => elements::<u64>(value),
        TensorElementType::Bool => {
            let (shape, bools) = value.try_extract_tensor::<bool>().map_err(failed)?;
            let bytes: Vec<u8> = bools.iter().map(|&is_so| u8::from(is_so)).collect();
            Tensor::from_bytes(DType::Bool, &sizes(shape)?, bytes)
        }
        TensorElementType::String => {
            let (shape, strings) = value.try_extract_strings().map_err(failed)?;
            Tensor::from_strings(&sizes(shape)?, strings)
        }
        other => Err(Error::internal(AT, format!("it gave {other}"))),
    }
}

fn elements<T: Element + PrimitiveTensorElementType>(value: &DynValue) -> Result<Tensor> {
    let (shape, elements) = value.try_extract_tensor::<T>().map_err(failed)?;
    Tensor::from_vec(&sizes(shape)?, elements.to_vec())
}

fn sizes(shape: &[i64]) -> Result<Vec<usize>> {
    let sizes = shape.iter().map(|&size| usize::try_from(size));
    let sizes: std::result::Result<_, _> = sizes.collect();
    sizes.map_err(|_| Error::internal(AT, format!("it gave the shape {shape:?}")))
}
