//! Tensors in the memory of the host.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};
use ndarray::{ArrayD, ArrayViewD, IxDyn};

use super::{DType, Shape};
use crate::error::{Error, Result};

/// A dense tensor, row-major. Cloning shares the elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Little-endian, packed; often a slice of the model's own file. Elements of less than a byte
    /// follow each other bit by bit, the first in the low bits (onnx.proto,
    /// `TensorProto.raw_data`).
    Bytes(Bytes),
    Strings(Arc<[String]>),
}

/// A Rust type that is the memory of one element type.
pub trait Element: bytemuck::Pod + Send {
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => {$(
        impl Element for $rust { const DTYPE: DType = DType::$dtype; }
    )*};
}
elements!(f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i8 => I8, i16 => I16, i32 => I32,
          i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64);

impl Tensor {
    /// A tensor over bytes that already have the layout of [`Data::Bytes`].
    ///
    /// # Errors
    /// `SHAPE_MISMATCH` when the bytes are not exactly those of the shape.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: impl Into<Bytes>) -> Result<Tensor> {
        let bytes = bytes.into();
        let expected = element_count(shape).and_then(|count| dtype.size_bytes(count));
        if dtype == DType::Str || expected != Some(bytes.len()) {
            return Err(Error::shape(
                "tensor",
                format!("{} bytes cannot be {dtype}{shape:?}", bytes.len()),
            ));
        }
        Ok(Tensor {
            dtype,
            shape: shape.to_vec(),
            data: Data::Bytes(bytes),
        })
    }

    /// # Errors
    /// `SHAPE_MISMATCH` when the number of strings is not that of the shape.
    pub fn from_strings(shape: &[usize], strings: Vec<String>) -> Result<Tensor> {
        if element_count(shape) != Some(strings.len()) {
            return Err(Error::shape(
                "tensor",
                format!("{} strings cannot be str{shape:?}", strings.len()),
            ));
        }
        Ok(Tensor {
            dtype: DType::Str,
            shape: shape.to_vec(),
            data: Data::Strings(strings.into()),
        })
    }

    /// # Errors
    /// `SHAPE_MISMATCH` when the number of elements is not that of the shape.
    pub fn from_vec<T: Element>(shape: &[usize], elements: Vec<T>) -> Result<Tensor> {
        Tensor::from_bytes(T::DTYPE, shape, vec_into_bytes(elements))
    }

    pub fn from_array<T: Element>(array: &ArrayD<T>) -> Tensor {
        let elements: Vec<T> = array.iter().copied().collect();
        Tensor::from_vec(array.shape(), elements).expect("an array has the elements of its shape")
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Element>(element: T) -> Tensor {
        Tensor::from_vec(&[], vec![element]).expect("a scalar has one element")
    }

    /// A rank-1 tensor.
    pub fn vector<T: Element>(elements: &[T]) -> Tensor {
        Tensor::from_vec(&[elements.len()], elements.to_vec()).expect("the length is the shape")
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn sizes(&self) -> &[usize] {
        &self.shape
    }

    pub fn shape(&self) -> Shape {
        Shape::known(&self.shape)
    }

    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        element_count(&self.shape).expect("the constructors have counted")
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The raw elements; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::Strings(_) => &[],
        }
    }

    /// Gives the memory of the elements back; type and shape stay. What reads elements then sees
    /// none.
    pub fn forget(&mut self) {
        self.data = Data::Bytes(Bytes::new());
    }

    pub fn is_forgotten(&self) -> bool {
        match &self.data {
            Data::Bytes(bytes) => bytes.is_empty() && !self.is_empty(),
            Data::Strings(_) => false,
        }
    }

    /// Moves the elements into memory of their own, where they were a part of a file.
    pub fn detach(&mut self) {
        if let Data::Bytes(bytes) = &mut self.data
            && !bytes.is_empty()
        {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }

    /// The elements, copied only when the bytes are not aligned for `T`; `None` for another type.
    /// `bool` tensors can be read as `u8`.
    pub fn elements<T: Element>(&self) -> Option<Cow<'_, [T]>> {
        let same = self.dtype == T::DTYPE || (self.dtype == DType::Bool && T::DTYPE == DType::U8);
        if !same || self.is_forgotten() {
            return None;
        }
        Some(match bytemuck::try_cast_slice(self.bytes()) {
            Ok(elements) => Cow::Borrowed(elements),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(self.bytes())),
        })
    }

    /// The tensor as an array; `None` for another type.
    pub fn to_array<T: Element>(&self) -> Option<ArrayD<T>> {
        let elements = self.elements::<T>()?.into_owned();
        ArrayD::from_shape_vec(IxDyn(&self.shape), elements).ok()
    }

    /// A view as an array; `None` for another type or when the bytes are not aligned for `T`.
    pub fn view<T: Element>(&self) -> Option<ArrayViewD<'_, T>> {
        let Some(Cow::Borrowed(elements)) = self.elements::<T>() else {
            return None;
        };
        ArrayViewD::from_shape(IxDyn(&self.shape), elements).ok()
    }

    /// The elements of an integer or bool tensor; `None` for other types and for `u64` values
    /// beyond `i64`.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        fn widen<T: Element + Into<i64>>(tensor: &Tensor) -> Option<Vec<i64>> {
            Some(tensor.elements::<T>()?.iter().map(|&x| x.into()).collect())
        }
        match self.dtype {
            DType::I64 => Some(self.elements::<i64>()?.into_owned()),
            DType::I32 => widen::<i32>(self),
            DType::I16 => widen::<i16>(self),
            DType::I8 => widen::<i8>(self),
            DType::U32 => widen::<u32>(self),
            DType::U16 => widen::<u16>(self),
            DType::U8 | DType::Bool => widen::<u8>(self),
            DType::U64 => self
                .elements::<u64>()?
                .iter()
                .map(|&x| x.try_into().ok())
                .collect(),
            _ => None,
        }
    }

    /// The elements of a float tensor as `f64`; `None` for other types.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        fn widen<T: Element + Into<f64>>(tensor: &Tensor) -> Option<Vec<f64>> {
            Some(tensor.elements::<T>()?.iter().map(|&x| x.into()).collect())
        }
        match self.dtype {
            DType::F64 => Some(self.elements::<f64>()?.into_owned()),
            DType::F32 => widen::<f32>(self),
            DType::F16 => widen::<f16>(self),
            DType::BF16 => widen::<bf16>(self),
            _ => None,
        }
    }

    /// True for two tensors over the same memory, or two that were forgotten.
    pub fn shares_elements(&self, other: &Tensor) -> bool {
        if self.is_forgotten() {
            return other.is_forgotten();
        }
        self.bytes().as_ptr() == other.bytes().as_ptr() && self.bytes().len() == other.bytes().len()
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// `SHAPE_MISMATCH` when the element counts differ.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Tensor> {
        if element_count(shape) != Some(self.len()) {
            let why = format!("{} elements cannot be {shape:?}", self.len());
            return Err(Error::shape("tensor", why));
        }
        Ok(Tensor {
            shape: shape.to_vec(),
            ..self.clone()
        })
    }
}

/// The product of sizes, or `None` when it does not fit.
fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero makes the product zero however large the others are.
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
}

/// Moves elements into bytes without copying them.
fn vec_into_bytes<T: Element>(elements: Vec<T>) -> Bytes {
    struct Owner<T>(Vec<T>);
    impl<T: Element> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Bytes::from_owner(Owner(elements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_be_those_of_the_shape() {
        assert!(Tensor::from_bytes(DType::F32, &[2], vec![0; 8]).is_ok());
        assert!(Tensor::from_bytes(DType::F32, &[2], vec![0; 7]).is_err());
        assert!(Tensor::from_bytes(DType::F32, &[usize::MAX, 2], vec![0; 8]).is_err());
        assert!(Tensor::from_bytes(DType::F32, &[usize::MAX, 2, 0], vec![]).is_ok());
        assert!(Tensor::from_bytes(DType::I4, &[3], vec![0; 2]).is_ok());
    }

    #[test]
    fn unaligned_bytes_are_still_read() {
        let mut file = vec![9_u8];
        file.extend(1.5_f32.to_le_bytes());
        file.extend((-2.0_f32).to_le_bytes());
        let bytes = Bytes::from(file).slice(1..);
        let tensor = Tensor::from_bytes(DType::F32, &[2], bytes).unwrap();
        assert_eq!(tensor.elements::<f32>().unwrap()[..], [1.5, -2.0]);
        assert_eq!(tensor.to_array::<f32>().unwrap().shape(), [2]);
        assert!(tensor.elements::<i32>().is_none());
    }

    #[test]
    fn integers_widen() {
        assert_eq!(Tensor::vector(&[250_u8, 3]).to_i64s(), Some(vec![250, 3]));
        assert_eq!(Tensor::vector(&[u64::MAX]).to_i64s(), None);
        assert_eq!(
            Tensor::scalar(f16::from_f32(0.5)).to_f64s(),
            Some(vec![0.5])
        );
    }
}
