//! Host tensors to the bytes of buffers and back.

use std::borrow::Cow;

use half::f16;

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::Storage;
use crate::tensor::{DType, Tensor};

/// The elements of a tensor as they lie in a buffer; a multiple of 4 bytes.
///
/// # Errors
/// `INVALID_INPUT` for an integer that 32 bits do not hold.
pub(super) fn to_gpu(tensor: &Tensor, storage: Storage) -> Result<Cow<'_, [u8]>> {
    let bytes = match (tensor.dtype(), storage) {
        (DType::F16, Storage::F32) => {
            let elements = tensor.elements::<f16>().expect("the type was compared");
            let wide: Vec<f32> = elements.iter().map(|x| x.to_f32()).collect();
            Cow::Owned(bytemuck::cast_slice(&wide).to_vec())
        }
        (DType::F64, _) => {
            let elements = tensor.elements::<f64>().expect("the type was compared");
            let narrowed = elements.iter().map(|&x| {
                let narrow = x as f32;
                (x, (narrow.is_finite() || !x.is_finite()).then_some(narrow))
            });
            narrow("floats", narrowed)?
        }
        (DType::I64, _) => {
            let elements = tensor.elements::<i64>().expect("the type was compared");
            narrow(
                "integers",
                elements.iter().map(|&n| (n, i32::try_from(n).ok())),
            )?
        }
        (DType::U64, _) => {
            let elements = tensor.elements::<u64>().expect("the type was compared");
            narrow(
                "integers",
                elements.iter().map(|&n| (n, u32::try_from(n).ok())),
            )?
        }
        _ => Cow::Borrowed(tensor.bytes()),
    };
    if bytes.len().is_multiple_of(4) {
        return Ok(bytes);
    }
    let mut padded = bytes.into_owned();
    padded.resize(padded.len().next_multiple_of(4), 0);
    Ok(Cow::Owned(padded))
}

fn narrow<W: std::fmt::Display, N: bytemuck::NoUninit>(
    what: &str,
    elements: impl Iterator<Item = (W, Option<N>)>,
) -> Result<Cow<'static, [u8]>> {
    let narrowed = elements.map(|(wide, narrow)| {
        narrow.ok_or_else(|| {
            let why = format!("{wide} does not fit the 32-bit {what} of the webgpu backend");
            Error::new(ErrorKind::InvalidInput, "", why)
        })
    });
    let narrowed: Vec<N> = narrowed.collect::<Result<_>>()?;
    Ok(Cow::Owned(bytemuck::cast_slice(&narrowed).to_vec()))
}

/// The tensor that lies at the start of these bytes.
pub(super) fn from_gpu(
    bytes: &[u8],
    storage: Storage,
    dtype: DType,
    sizes: &[usize],
) -> Result<Tensor> {
    let n_elems: usize = sizes.iter().product();
    let words = |n: usize| -> Vec<u32> { bytemuck::pod_collect_to_vec(&bytes[..n * 4]) };
    match (dtype, storage) {
        (DType::F16, Storage::F32) => {
            let narrow = words(n_elems)
                .into_iter()
                .map(|word| f16::from_f32(f32::from_bits(word)));
            Tensor::from_vec(sizes, narrow.collect())
        }
        (DType::F64, _) => {
            let words = words(n_elems).into_iter();
            let wide = words.map(|word| f64::from(f32::from_bits(word)));
            Tensor::from_vec(sizes, wide.collect())
        }
        (DType::I64, _) => {
            let wide = words(n_elems)
                .into_iter()
                .map(|word| i64::from(word.cast_signed()));
            Tensor::from_vec(sizes, wide.collect())
        }
        (DType::U64, _) => {
            let wide = words(n_elems).into_iter().map(u64::from);
            Tensor::from_vec(sizes, wide.collect())
        }
        _ => {
            let size_bytes = dtype.size_bytes(n_elems).expect("it was computed");
            Tensor::from_bytes(dtype, sizes, bytes[..size_bytes].to_vec())
        }
    }
}
