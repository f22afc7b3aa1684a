//! `TensorProto` to [`Tensor`]: raw bytes stay where they are, typed fields become packed bytes.

use bytes::Bytes;

use super::external::{External, check_location};
use super::schema::TensorProto;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Tensor};

/// The tensor with its elements, which may lie in a file beside the model.
///
/// # Errors
/// `MODEL_PARSE` when dims, type and data do not fit together, and what `external` gives.
pub fn tensor(proto: &TensorProto, external: &dyn External) -> Result<Tensor> {
    read(proto, external).map_err(|error| error.within(place(proto)))
}

/// How errors name a tensor.
pub fn place(proto: &TensorProto) -> String {
    format!("tensor {:?} at byte {}", proto.name, proto.at)
}

fn read(proto: &TensorProto, external: &dyn External) -> Result<Tensor> {
    let wrong = |why: String| Error::parse("", why);
    let Some(dtype) = DType::from_onnx(proto.data_type) else {
        return Err(wrong(format!(
            "element type {} does not exist",
            proto.data_type
        )));
    };
    if proto.has_segment {
        return Err(Error::unsupported("", "the tensor is split into segments"));
    }
    let shape = sizes(&proto.dims)?;
    let count: usize = shape.iter().product();
    let (field, field_name) = field_of(dtype);
    if proto.typed_field.is_some_and(|number| number != field) {
        return Err(wrong(format!(
            "elements of {dtype} are in another field than {field_name}"
        )));
    }
    if dtype == DType::Str {
        if proto.is_external || proto.raw.is_some() {
            return Err(wrong("strings cannot be raw or external data".to_owned()));
        }
        if proto.strings.len() != count {
            let n_strings = proto.strings.len();
            return Err(wrong(format!(
                "{n_strings} strings cannot be {dtype}{shape:?}"
            )));
        }
        let strings: Result<Vec<String>> = proto
            .strings
            .iter()
            .map(|text| match std::str::from_utf8(text) {
                Ok(text) => Ok(text.to_owned()),
                Err(_) => Err(wrong("a string is not UTF-8".to_owned())),
            })
            .collect();
        return Tensor::from_strings(&shape, strings?);
    }
    let size_bytes = dtype
        .size_bytes(count)
        .ok_or_else(|| wrong(format!("{dtype}{shape:?} does not fit the address space")))?;
    let bytes = if proto.is_external {
        read_external(proto, size_bytes, external)?
    } else if let Some(raw) = &proto.raw {
        if proto.typed_field.is_some() {
            return Err(wrong("the tensor has elements in two fields".to_owned()));
        }
        raw.clone()
    } else {
        typed(proto, dtype)
    };
    if bytes.len() != size_bytes {
        let n_bytes = bytes.len();
        let why = format!("{dtype}{shape:?} takes {size_bytes} bytes, {n_bytes} are there");
        return Err(wrong(why));
    }
    Tensor::from_bytes(dtype, &shape, bytes)
}

/// The dims as sizes whose product, zeros aside, fits the address space.
fn sizes(dims: &[i64]) -> Result<Vec<usize>> {
    let mut count = 1_usize;
    let mut sizes = Vec::with_capacity(dims.len());
    for &dim in dims {
        let size = usize::try_from(dim)
            .map_err(|_| Error::parse("", format!("a dimension cannot be {dim}: {dims:?}")))?;
        count = count
            .checked_mul(size.max(1))
            .filter(|&count| isize::try_from(count).is_ok())
            .ok_or_else(|| Error::parse("", format!("the shape is too large: {dims:?}")))?;
        sizes.push(size);
    }
    Ok(sizes)
}

/// The number and name of the field that onnx.proto assigns to a type.
fn field_of(dtype: DType) -> (u32, &'static str) {
    use DType::*;
    match dtype {
        F32 | C64 => (4, "float_data"),
        F64 | C128 => (10, "double_data"),
        I64 => (7, "int64_data"),
        U64 | U32 => (11, "uint64_data"),
        Str => (6, "string_data"),
        _ => (5, "int32_data"),
    }
}

/// The elements of the typed field.
fn typed(proto: &TensorProto, dtype: DType) -> Bytes {
    use DType::*;
    fn low_bytes<const WIDTH: usize>(numbers: &[i64]) -> Bytes {
        let low = |number: &i64| {
            *number
                .to_le_bytes()
                .first_chunk::<WIDTH>()
                .expect("up to 8")
        };
        numbers.iter().flat_map(low).collect::<Vec<u8>>().into()
    }
    let numbers = &proto.numbers;
    match dtype {
        F32 | C64 | F64 | C128 => proto.packed.to_bytes(),
        I64 | U64 => low_bytes::<8>(numbers),
        I32 | U32 => low_bytes::<4>(numbers),
        I16 | U16 | F16 | BF16 => low_bytes::<2>(numbers),
        Bool => numbers
            .iter()
            .map(|&x| u8::from(x != 0))
            .collect::<Vec<u8>>()
            .into(),
        F6E2M3 | F6E3M2 => pack_6_bits(numbers),
        // Elements of two and four bits are packed in each number as they are in raw data.
        _ => low_bytes::<1>(numbers),
    }
}

/// One element in each number to four elements in three bytes.
fn pack_6_bits(numbers: &[i64]) -> Bytes {
    let mut bytes = Vec::with_capacity((numbers.len() * 6).div_ceil(8));
    for four in numbers.chunks(4) {
        let bits = four
            .iter()
            .rev()
            .fold(0_u32, |bits, &x| bits << 6 | (x & 0x3f) as u32);
        let used_bytes = (four.len() * 6).div_ceil(8);
        bytes.extend(&bits.to_le_bytes()[..used_bytes]);
    }
    bytes.into()
}

fn read_external(proto: &TensorProto, size_bytes: usize, external: &dyn External) -> Result<Bytes> {
    let get = |key: &str| proto.external.iter().rev().find(|entry| entry.0 == key);
    let number = |key: &str| match get(key) {
        None => Ok(None),
        Some((_, text)) => text.trim().parse::<u64>().map(Some).map_err(|_| {
            Error::parse(
                "",
                format!("external data's {key} is not a number: {text:?}"),
            )
        }),
    };
    let location = location(proto)?;
    let offset = number("offset")?.unwrap_or(0);
    let size_bytes = size_bytes as u64;
    let length = number("length")?.unwrap_or(size_bytes);
    if length != size_bytes {
        let why = format!("external data has {length} bytes where {size_bytes} are needed");
        return Err(Error::parse("", why));
    }
    let bytes = external.read(&location, offset, length)?;
    if bytes.len() as u64 != length {
        let why = format!("{} bytes of external data came for {length}", bytes.len());
        return Err(Error::new(ErrorKind::Io, location, why));
    }
    Ok(bytes)
}

/// Where a tensor's external data lies, checked.
pub fn location(proto: &TensorProto) -> Result<String> {
    match proto
        .external
        .iter()
        .rev()
        .find(|entry| entry.0 == "location")
    {
        Some((_, location)) => check_location(location),
        None => Err(Error::parse("", "external data has no location")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::onnx::MapExternal;

    fn typed_tensor(dtype: DType, dims: &[i64], field: u32, numbers: &[i64]) -> Vec<u8> {
        let proto = TensorProto {
            dims: dims.to_vec(),
            data_type: dtype.onnx().into(),
            typed_field: Some(field),
            numbers: numbers.to_vec(),
            ..TensorProto::default()
        };
        tensor(&proto, &MapExternal::default())
            .unwrap()
            .bytes()
            .to_vec()
    }

    #[test]
    fn typed_fields_become_raw_bytes() {
        for (dtype, dims, field, numbers, bytes) in [
            (DType::I8, &[2][..], 5, &[-1, 2][..], &[0xff, 2][..]),
            (DType::U16, &[1], 5, &[0x1234], &[0x34, 0x12]),
            (DType::F16, &[1], 5, &[0x3c00], &[0, 0x3c]),
            (DType::Bool, &[3], 5, &[0, 1, 7], &[0, 1, 1]),
            (DType::I32, &[1], 5, &[-2], &[0xfe, 0xff, 0xff, 0xff]),
            (DType::U32, &[1], 11, &[1], &[1, 0, 0, 0]),
            (DType::I64, &[1], 7, &[-1], &[0xff; 8]),
            (DType::U64, &[1], 11, &[-1], &[0xff; 8]),
            (DType::U4, &[3], 5, &[0x21, 0x03], &[0x21, 0x03]),
            (DType::I2, &[5], 5, &[0b11_10_01_00, 1], &[0b11_10_01_00, 1]),
            (DType::F6E2M3, &[4], 5, &[1, 2, 3, 4], &[0x81, 0x30, 0x10]),
            (
                DType::F6E3M2,
                &[5],
                5,
                &[0x3f, 0, 0, 0, 0x2a],
                &[0x3f, 0, 0, 0x2a],
            ),
        ] {
            assert_eq!(typed_tensor(dtype, dims, field, numbers), bytes, "{dtype}");
        }
    }
}
