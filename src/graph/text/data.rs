//! The elements of tensors as text: lists of numbers, or hex where those would lose bits.

use half::{bf16, f16};

use super::cursor::Cursor;
use crate::error::Result;
use crate::tensor::{DType, Data, Element, Tensor};

/// Longer data is hex: shorter and faster.
const MAX_LISTED: usize = 64;

/// `[1, 2]`, `["a"]` or `0x0102`.
pub fn print(tensor: &Tensor) -> String {
    if let Data::Strings(strings) = tensor.data() {
        let strings: Vec<String> = strings.iter().map(|text| format!("{text:?}")).collect();
        return format!("[{}]", strings.join(", "));
    }
    let list = if tensor.len() <= MAX_LISTED {
        list(tensor)
    } else {
        None
    };
    list.unwrap_or_else(|| hex(tensor.bytes()))
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The elements as a list; `None` for types without numbers, and where numbers lose bits.
fn list(tensor: &Tensor) -> Option<String> {
    fn numbers<T: Element, U: ToString>(
        tensor: &Tensor,
        number: impl Fn(T) -> Option<U>,
    ) -> Option<String> {
        let elements = tensor.elements::<T>()?;
        let texts: Option<Vec<String>> = elements
            .iter()
            .map(|&x| number(x).map(|x| x.to_string()))
            .collect();
        Some(format!("[{}]", texts?.join(", ")))
    }
    // A NaN other than the usual one would come back as the usual one.
    let exact = |is_exact: bool, text: String| is_exact.then_some(text);
    match tensor.dtype() {
        DType::F32 => numbers(tensor, |x: f32| {
            exact(!x.is_nan() || x.to_bits() == f32::NAN.to_bits(), float(x))
        }),
        DType::F64 => numbers(tensor, |x: f64| {
            exact(!x.is_nan() || x.to_bits() == f64::NAN.to_bits(), double(x))
        }),
        DType::F16 => numbers(tensor, |x: f16| exact(!x.is_nan(), float(x.into()))),
        DType::BF16 => numbers(tensor, |x: bf16| exact(!x.is_nan(), float(x.into()))),
        DType::Bool => numbers(tensor, |x: u8| match x {
            0 => Some("false"),
            1 => Some("true"),
            _ => None,
        }),
        DType::I8 => numbers(tensor, Some::<i8>),
        DType::I16 => numbers(tensor, Some::<i16>),
        DType::I32 => numbers(tensor, Some::<i32>),
        DType::I64 => numbers(tensor, Some::<i64>),
        DType::U8 => numbers(tensor, Some::<u8>),
        DType::U16 => numbers(tensor, Some::<u16>),
        DType::U32 => numbers(tensor, Some::<u32>),
        DType::U64 => numbers(tensor, Some::<u64>),
        _ => None,
    }
}

/// A float that reads back as itself, and never as an integer.
pub fn float(x: f32) -> String {
    if x.is_nan() {
        "nan".to_owned()
    } else {
        format!("{x:?}")
    }
}

fn double(x: f64) -> String {
    if x.is_nan() {
        "nan".to_owned()
    } else {
        format!("{x:?}")
    }
}

/// Reads what [`print`] writes.
pub fn parse(cursor: &mut Cursor, dtype: DType, sizes: &[usize]) -> Result<Tensor> {
    let tensor = if cursor.rest().starts_with("0x") {
        let bytes = cursor.hex()?;
        Tensor::from_bytes(dtype, sizes, bytes)
    } else {
        match dtype {
            DType::Str => Tensor::from_strings(sizes, cursor.list("[", "]", Cursor::string)?),
            DType::F32 => {
                Tensor::from_vec(sizes, list_of(cursor, dtype, |x| x.parse::<f32>().ok())?)
            }
            DType::F64 => {
                Tensor::from_vec(sizes, list_of(cursor, dtype, |x| x.parse::<f64>().ok())?)
            }
            DType::F16 => Tensor::from_vec(
                sizes,
                list_of(cursor, dtype, |x| x.parse().ok().map(f16::from_f32))?,
            ),
            DType::BF16 => Tensor::from_vec(
                sizes,
                list_of(cursor, dtype, |x| x.parse().ok().map(bf16::from_f32))?,
            ),
            DType::Bool => {
                let bytes = list_of(cursor, dtype, |x| match x {
                    "false" | "0" => Some(0_u8),
                    "true" | "1" => Some(1),
                    _ => None,
                })?;
                Tensor::from_bytes(dtype, sizes, bytes)
            }
            DType::I8 => integers::<i8>(cursor, dtype, sizes),
            DType::I16 => integers::<i16>(cursor, dtype, sizes),
            DType::I32 => integers::<i32>(cursor, dtype, sizes),
            DType::I64 => integers::<i64>(cursor, dtype, sizes),
            DType::U8 => integers::<u8>(cursor, dtype, sizes),
            DType::U16 => integers::<u16>(cursor, dtype, sizes),
            DType::U32 => integers::<u32>(cursor, dtype, sizes),
            DType::U64 => integers::<u64>(cursor, dtype, sizes),
            _ => return Err(cursor.error(format!("elements of {dtype} are written as hex: 0x.."))),
        }
    };
    tensor.map_err(|error| cursor.error(error.why))
}

fn integers<T: Element + std::str::FromStr>(
    cursor: &mut Cursor,
    dtype: DType,
    sizes: &[usize],
) -> Result<Tensor> {
    Tensor::from_vec(
        sizes,
        list_of(cursor, dtype, |text| text.parse::<T>().ok())?,
    )
}

fn list_of<T>(
    cursor: &mut Cursor,
    dtype: DType,
    element: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>> {
    cursor.list("[", "]", |cursor| {
        let text = cursor.number()?;
        element(text).ok_or_else(|| cursor.error(format!("{text} is no {dtype}")))
    })
}
