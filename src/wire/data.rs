//! Elements as JSON: flat or nested lists, in row-major order.

use std::fmt;

use half::{bf16, f16};
use serde::Deserializer;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{quoted, reason};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Tensor};

/// Elements from the `data` of a tensor; strings are bytes in UTF-8.
///
/// # Errors
/// `INVALID_INPUT`, without a place, for other JSON than lists of as many elements as the shape has, all of the type.
pub fn read(dtype: DType, shape: &[usize], json: &RawValue) -> Result<Tensor> {
    let wrong = |why: String| Error::new(ErrorKind::InvalidInput, "", why);
    if !json.get().starts_with('[') {
        return Err(wrong("data: it is no list".into()));
    }
    let n_elements = shape.iter().product();
    let mut elements = Elements {
        dtype,
        n_elements,
        n_read: 0,
        bytes: Vec::new(),
        strings: Vec::new(),
    };
    let mut reader = serde_json::Deserializer::from_str(json.get());
    List(&mut elements)
        .deserialize(&mut reader)
        .map_err(|error| wrong(format!("data: {}", reason(&error))))?;
    if elements.n_read != n_elements {
        let why = format!(
            "data: {} elements for a shape of {n_elements}",
            elements.n_read
        );
        return Err(wrong(why));
    }
    match dtype {
        DType::Str => Tensor::from_strings(shape, elements.strings),
        _ => Tensor::from_bytes(dtype, shape, elements.bytes),
    }
}

struct Elements {
    dtype: DType,
    n_elements: usize,
    n_read: usize,
    bytes: Vec<u8>,
    strings: Vec<String>,
}

impl Elements {
    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.n_read += 1;
        if self.n_read > self.n_elements {
            return Err(E::custom(format!(
                "more than the {} elements of its shape",
                self.n_elements
            )));
        }
        Ok(())
    }

    fn put<E: serde::de::Error, T: bytemuck::NoUninit>(
        &mut self,
        element: Option<T>,
    ) -> Result<(), E> {
        let Some(element) = element else {
            let name = super::datatype(self.dtype).unwrap_or_default();
            return Err(E::custom(format!("a number that {name} does not have")));
        };
        self.count()?;
        self.bytes.extend_from_slice(bytemuck::bytes_of(&element));
        Ok(())
    }

    fn put_i64<E: serde::de::Error>(&mut self, x: i64) -> Result<(), E> {
        match self.dtype {
            DType::I8 => self.put(i8::try_from(x).ok()),
            DType::I16 => self.put(i16::try_from(x).ok()),
            DType::I32 => self.put(i32::try_from(x).ok()),
            DType::I64 => self.put(Some(x)),
            DType::Bool => self.put(u8::try_from(x).ok().filter(|&x| x < 2)),
            DType::U8 => self.put(u8::try_from(x).ok()),
            DType::U16 => self.put(u16::try_from(x).ok()),
            DType::U32 => self.put(u32::try_from(x).ok()),
            DType::U64 => self.put(u64::try_from(x).ok()),
            _ => self.put_f64(x as f64),
        }
    }

    fn put_f64<E: serde::de::Error>(&mut self, x: f64) -> Result<(), E> {
        match self.dtype {
            DType::F64 => self.put(Some(x)),
            // A number that only an infinity is near to is beyond the type.
            DType::F32 => self.put(Some(x as f32).filter(|x| x.is_finite())),
            DType::F16 => self.put(Some(f16::from_f64(x)).filter(|x| x.is_finite())),
            DType::BF16 => self.put(Some(bf16::from_f64(x)).filter(|x| x.is_finite())),
            _ => self.put(None::<u8>),
        }
    }
}

/// One list, or one element in it.
struct List<'a>(&'a mut Elements);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = super::datatype(self.0.dtype).unwrap_or_default();
        write!(f, "a list of {name}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(List(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, x: bool) -> Result<(), E> {
        match self.0.dtype {
            DType::Bool => self.0.put(Some(u8::from(x))),
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(x), &self)),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, x: i64) -> Result<(), E> {
        self.0.put_i64(x)
    }

    fn visit_u64<E: serde::de::Error>(self, x: u64) -> Result<(), E> {
        match i64::try_from(x) {
            Ok(x) => self.0.put_i64(x),
            Err(_) if self.0.dtype == DType::U64 => self.0.put(Some(x)),
            Err(_) => self.0.put_f64(x as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, x: f64) -> Result<(), E> {
        self.0.put_f64(x)
    }

    fn visit_str<E: serde::de::Error>(self, x: &str) -> Result<(), E> {
        if self.0.dtype != DType::Str {
            return Err(E::invalid_type(serde::de::Unexpected::Str(x), &self));
        }
        self.0.count()?;
        self.0.strings.push(x.to_owned());
        Ok(())
    }
}

/// The elements as one flat list.
///
/// # Errors
/// `INVALID_INPUT` for numbers that JSON does not have: infinities and NaN.
pub fn write(name: &str, tensor: &Tensor) -> Result<Box<RawValue>> {
    fn list<T: serde::Serialize>(elements: &[T]) -> String {
        serde_json::to_string(elements).expect("numbers and text are JSON")
    }
    macro_rules! numbers {
        ($rust:ty) => {
            list(&tensor.elements::<$rust>().expect("it is of this type"))
        };
    }
    let text = match tensor.dtype() {
        DType::Str => match tensor.data() {
            crate::tensor::Data::Strings(strings) => list(strings),
            crate::tensor::Data::Bytes(_) => list::<String>(&[]),
        },
        DType::Bool => {
            let elements = tensor.elements::<u8>().expect("it is of this type");
            list(&elements.iter().map(|&x| x != 0).collect::<Vec<_>>())
        }
        DType::U8 => numbers!(u8),
        DType::U16 => numbers!(u16),
        DType::U32 => numbers!(u32),
        DType::U64 => numbers!(u64),
        DType::I8 => numbers!(i8),
        DType::I16 => numbers!(i16),
        DType::I32 => numbers!(i32),
        DType::I64 => numbers!(i64),
        _ => {
            let elements = tensor.to_f64s().unwrap_or_default();
            if elements.iter().any(|x| !x.is_finite()) {
                let why = "it has infinities or NaN, which JSON does not have: ask for binary data";
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("output {}", quoted(name)),
                    why,
                ));
            }
            match tensor.dtype() {
                // The shortest text that is this number again, not that of its double.
                DType::F32 => numbers!(f32),
                _ => list(&elements),
            }
        }
    };
    Ok(RawValue::from_string(text).expect("it was just written"))
}
