//! NumPy's array files, versions 1 to 3 (NEP 1; `numpy.lib.format`).
//!
//! A magic number, a version, the length of the header, the header (the text of a Python dictionary
//! with `descr`, `fortran_order` and `shape`), and the elements.

use std::borrow::Cow;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, Data, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";
/// A header says a type and a shape; NumPy itself stops at 10,000 bytes unless told otherwise.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// NumPy's own limit since version 2.
const MAX_RANK: usize = 64;
/// The elements start at a multiple of this.
const ALIGNMENT_BYTES: usize = 64;

/// NumPy's kind and size, the element type, and the bytes of the part that a byte order turns round.
const NUMBERS: &[(&str, DType, usize)] = &[
    ("f2", DType::F16, 2),
    ("f4", DType::F32, 4),
    ("f8", DType::F64, 8),
    ("i1", DType::I8, 1),
    ("i2", DType::I16, 2),
    ("i4", DType::I32, 4),
    ("i8", DType::I64, 8),
    ("u1", DType::U8, 1),
    ("u2", DType::U16, 2),
    ("u4", DType::U32, 4),
    ("u8", DType::U64, 8),
    ("b1", DType::Bool, 1),
    ("c8", DType::C64, 4),
    ("c16", DType::C128, 8),
];

/// Reads the array of a `.npy` file. Either byte order and either element order is understood.
///
/// # Errors
/// `INVALID_INPUT` for what is not a whole array file or holds a type that ONNX does not have.
pub fn read_npy(bytes: &[u8]) -> Result<Tensor> {
    let (header, data) = split_header(bytes)?;
    let Header {
        descr,
        fortran_order,
        shape,
    } = Header::parse(&header)?;
    let (is_big_endian, kind) = match descr.strip_prefix(['<', '>', '|', '=']) {
        Some(kind) => (descr.starts_with('>'), kind),
        None => (false, descr.as_str()),
    };
    if let Some(chars) = kind.strip_prefix('U') {
        let n_chars: usize = chars
            .parse()
            .map_err(|_| invalid(format!("unknown element type {descr:?}")))?;
        return read_strings(data, &shape, n_chars, is_big_endian, fortran_order);
    }
    let Some(&(_, dtype, unit_bytes)) = NUMBERS.iter().find(|row| row.0 == kind) else {
        return Err(invalid(format!("ONNX has no element type {descr:?}")));
    };
    let element_bytes = dtype.bits() / 8;
    check_size(data, &shape, element_bytes)?;

    let mut elements = if fortran_order {
        row_major(data, &shape, element_bytes)
    } else {
        data.to_vec()
    };
    if is_big_endian {
        elements
            .chunks_exact_mut(unit_bytes)
            .for_each(<[u8]>::reverse);
    }
    if dtype == DType::Bool {
        // Whatever is not zero is true; the rest of the engine counts on 0 and 1.
        elements
            .iter_mut()
            .for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Tensor::from_bytes(dtype, &shape, elements)
}

/// Writes an array as a `.npy` file of version 1, row-major and little-endian.
///
/// # Errors
/// `CONVERT_UNSUPPORTED` for element types that NumPy does not have.
pub fn write_npy(tensor: &Tensor) -> Result<Vec<u8>> {
    let (descr, data) = match tensor.data() {
        Data::Strings(strings) => encode_strings(strings)?,
        Data::Bytes(bytes) => {
            let row = NUMBERS.iter().find(|row| row.1 == tensor.dtype());
            let Some((kind, _, unit_bytes)) = row else {
                let why = format!("NumPy has no element type {}", tensor.dtype());
                return Err(Error::new(ErrorKind::ConvertUnsupported, "npy", why));
            };
            let order = if *unit_bytes == 1 { '|' } else { '<' };
            (format!("{order}{kind}"), Cow::Borrowed(&bytes[..]))
        }
    };
    let shape = match tensor.sizes() {
        [n] => format!("({n},)"),
        sizes => {
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            format!("({})", sizes.join(", "))
        }
    };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}").into_bytes();
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGNMENT_BYTES) - before;
    header.resize(padded - 1, b' ');
    header.push(b'\n');
    let header_bytes = u16::try_from(header.len()).map_err(|_| invalid("the rank is too high"))?;

    let mut file = Vec::with_capacity(before + header.len() + data.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[1, 0]);
    file.extend_from_slice(&header_bytes.to_le_bytes());
    file.extend_from_slice(&header);
    file.extend_from_slice(&data);
    Ok(file)
}

fn invalid(why: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, "npy", why)
}

/// The header's text and the bytes after it.
fn split_header(bytes: &[u8]) -> Result<(Cow<'_, str>, &[u8])> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| invalid("not a NumPy array file: it does not start with \\x93NUMPY"))?;
    let cut_short = || invalid("the file ends inside its header");
    let (&[major, _minor], rest) = rest.split_first_chunk().ok_or_else(cut_short)?;
    let (header_bytes, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut_short)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut_short)?;
            let length = u32::from_le_bytes(*length);
            (usize::try_from(length).unwrap_or(usize::MAX), rest)
        }
        _ => return Err(invalid(format!("version {major}, expected 1, 2 or 3"))),
    };
    if header_bytes > MAX_HEADER_BYTES {
        let why = format!("a header of {header_bytes} bytes, the limit is {MAX_HEADER_BYTES}");
        return Err(Error::new(ErrorKind::TooLarge, "npy", why));
    }
    let (header, data) = rest.split_at_checked(header_bytes).ok_or_else(cut_short)?;
    // Latin-1 before version 3; the keys and types that are understood are ASCII anyway.
    Ok((String::from_utf8_lossy(header), data))
}

fn check_size(data: &[u8], shape: &[usize], element_bytes: usize) -> Result<()> {
    let expected = if shape.contains(&0) {
        Some(0)
    } else {
        let mut sizes = shape.iter();
        sizes.try_fold(element_bytes, |bytes, &size| bytes.checked_mul(size))
    };
    if expected != Some(data.len()) {
        return Err(invalid(format!(
            "{} bytes of elements cannot be {shape:?} of {element_bytes} bytes each",
            data.len()
        )));
    }
    Ok(())
}

/// Column-major elements, first axis fastest, in row-major order.
fn row_major(data: &[u8], shape: &[usize], element_bytes: usize) -> Vec<u8> {
    if data.is_empty() {
        return Vec::new();
    }
    let mut elements = Vec::with_capacity(data.len());
    let strides: Vec<usize> = shape
        .iter()
        .scan(element_bytes, |stride, &size| {
            let this = *stride;
            *stride *= size;
            Some(this)
        })
        .collect();
    let mut index = vec![0; shape.len()];
    let mut offset_bytes = 0;
    while elements.len() < data.len() {
        elements.extend_from_slice(&data[offset_bytes..offset_bytes + element_bytes]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            offset_bytes += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset_bytes -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    elements
}

/// Strings of `n_chars` UTF-32 characters each, filled up with zeros.
fn read_strings(
    data: &[u8],
    shape: &[usize],
    n_chars: usize,
    is_big_endian: bool,
    fortran_order: bool,
) -> Result<Tensor> {
    let element_bytes = n_chars
        .checked_mul(4)
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| invalid(format!("strings of {n_chars} characters")))?;
    check_size(data, shape, element_bytes)?;
    let data = if fortran_order {
        Cow::Owned(row_major(data, shape, element_bytes))
    } else {
        Cow::Borrowed(data)
    };
    let decode = |element: &[u8]| -> Result<String> {
        let chars = element.chunks_exact(4).map(|unit| {
            let unit = unit.try_into().expect("chunks have four bytes");
            if is_big_endian {
                u32::from_be_bytes(unit)
            } else {
                u32::from_le_bytes(unit)
            }
        });
        let text: Option<String> = chars.map(char::from_u32).collect();
        let text = text.ok_or_else(|| invalid("a string holds what is not a character"))?;
        Ok(text.trim_end_matches('\0').to_owned())
    };
    let strings: Result<Vec<String>> = data.chunks_exact(element_bytes).map(decode).collect();
    Tensor::from_strings(shape, strings?)
}

fn encode_strings(strings: &[String]) -> Result<(String, Cow<'static, [u8]>)> {
    let longest = strings.iter().map(|text| text.chars().count()).max();
    let n_chars = longest.unwrap_or(0).max(1);
    let size_bytes = n_chars
        .checked_mul(4)
        .and_then(|bytes| bytes.checked_mul(strings.len()))
        .filter(|&bytes| bytes <= isize::MAX as usize)
        .ok_or_else(|| Error::new(ErrorKind::TooLarge, "npy", "the strings are too long"))?;
    let mut data = Vec::with_capacity(size_bytes);
    for (idx, text) in strings.iter().enumerate() {
        for char in text.chars() {
            data.extend_from_slice(&u32::from(char).to_le_bytes());
        }
        data.resize((idx + 1) * n_chars * 4, 0);
    }
    Ok((format!("<U{n_chars}"), Cow::Owned(data)))
}

#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads the part of Python's literals that headers are made of.
    fn parse(text: &str) -> Result<Header> {
        let mut literal = Literal { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        literal.expect('{')?;
        while !literal.take('}') {
            let key = literal.string()?;
            literal.expect(':')?;
            match key {
                "descr" => descr = Some(literal.descr()?.to_owned()),
                "fortran_order" => fortran_order = Some(literal.boolean()?),
                "shape" => shape = Some(literal.sizes()?),
                _ => return Err(invalid(format!("unknown key {key:?} in the header"))),
            }
            if !literal.take(',') {
                literal.expect('}')?;
                break;
            }
        }
        let missing = |key: &str| invalid(format!("the header does not say {key:?}"));
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

/// What is left of the header's text.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn take(&mut self, what: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, what: char) -> Result<()> {
        if self.take(what) {
            return Ok(());
        }
        let found: String = self.rest.chars().take(12).collect();
        Err(invalid(format!(
            "the header has {found:?} where {what:?} is expected"
        )))
    }

    fn string(&mut self) -> Result<&'a str> {
        let quote = if self.take('"') {
            '"'
        } else {
            self.expect('\'')?;
            '\''
        };
        let (text, rest) = self
            .rest
            .split_once(quote)
            .ok_or_else(|| invalid("a string in the header does not end"))?;
        self.rest = rest;
        Ok(text)
    }

    fn descr(&mut self) -> Result<&'a str> {
        if self.take('[') {
            return Err(invalid("arrays of records are not tensors"));
        }
        self.string()
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn boolean(&mut self) -> Result<bool> {
        match self.word(|c| c.is_ascii_alphabetic()) {
            "True" => Ok(true),
            "False" => Ok(false),
            word => Err(invalid(format!("{word:?} is neither True nor False"))),
        }
    }

    fn sizes(&mut self) -> Result<Vec<usize>> {
        let mut sizes = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            let digits = self.word(|c| c.is_ascii_digit());
            let size = digits
                .parse()
                .map_err(|_| invalid(format!("{digits:?} in the shape is not a size")))?;
            if sizes.len() == MAX_RANK {
                return Err(invalid(format!("more than {MAX_RANK} dimensions")));
            }
            sizes.push(size);
            // Python 2 wrote long integers with this suffix.
            self.take('L');
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = [MAGIC, &[version, 0]].concat();
        match version {
            1 => file.extend((header.len() as u16).to_le_bytes()),
            _ => file.extend((header.len() as u32).to_le_bytes()),
        }
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    fn header(descr: &str, fortran_order: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n")
    }

    fn why(bytes: &[u8]) -> String {
        let error = read_npy(bytes).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{error}");
        error.why.into_owned()
    }

    #[test]
    fn every_type_comes_back_as_it_was_written() {
        for (_, dtype, _) in NUMBERS {
            let bytes: Vec<u8> = (0..dtype.bits() / 8 * 6).map(|n| (n % 2) as u8).collect();
            let tensor = Tensor::from_bytes(*dtype, &[2, 3], bytes).unwrap();
            assert_eq!(read_npy(&write_npy(&tensor).unwrap()).unwrap(), tensor);
        }
    }

    #[test]
    fn every_rank_comes_back_as_it_was_written() {
        for shape in [&[][..], &[3], &[0], &[2, 0, 3], &[1, 2, 3, 4]] {
            let n_elements: usize = shape.iter().product();
            let tensor = Tensor::from_vec(shape, vec![1.5_f32; n_elements]).unwrap();
            let file = write_npy(&tensor).unwrap();
            assert_eq!((file.len() - n_elements * 4) % ALIGNMENT_BYTES, 0);
            assert_eq!(read_npy(&file).unwrap(), tensor);
        }
    }

    #[test]
    fn strings_come_back_as_they_were_written() {
        let strings = ["", "déjà", "🦀 vu"].map(String::from).to_vec();
        let tensor = Tensor::from_strings(&[3, 1], strings).unwrap();
        assert_eq!(read_npy(&write_npy(&tensor).unwrap()).unwrap(), tensor);
        let none = Tensor::from_strings(&[0], vec![]).unwrap();
        assert_eq!(read_npy(&write_npy(&none).unwrap()).unwrap(), none);
    }

    #[test]
    fn types_that_numpy_lacks_are_refused() {
        let tensor = Tensor::from_bytes(DType::BF16, &[1], vec![0, 0]).unwrap();
        let error = write_npy(&tensor).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ConvertUnsupported);
    }

    #[test]
    fn all_versions_are_read() {
        for version in 1..=3 {
            let file = file(version, &header("<i2", "False", "(2,)"), &[1, 0, 2, 0]);
            assert_eq!(read_npy(&file).unwrap(), Tensor::vector(&[1_i16, 2]));
        }
        assert!(why(&file(4, &header("<i2", "False", "(2,)"), &[])).contains("version 4"));
    }

    #[test]
    fn column_major_elements_are_put_in_rows() {
        // 0 2 4 / 1 3 5 by columns is 0 1 2 3 4 5.
        let file = file(1, &header("|u1", "True", "(2, 3)"), &[0, 1, 2, 3, 4, 5]);
        let expected = Tensor::from_vec(&[2, 3], vec![0_u8, 2, 4, 1, 3, 5]).unwrap();
        assert_eq!(read_npy(&file).unwrap(), expected);
    }

    #[test]
    fn big_endian_elements_are_turned_round() {
        let file = file(1, &header(">i4", "False", "(1,)"), &[0, 0, 1, 2]);
        assert_eq!(read_npy(&file).unwrap(), Tensor::vector(&[258_i32]));
        let mut complex = 1.5_f32.to_be_bytes().to_vec();
        complex.extend((-2.0_f32).to_be_bytes());
        let file = self::file(1, &header(">c8", "False", "()"), &complex);
        let expected = [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat();
        assert_eq!(read_npy(&file).unwrap().bytes(), expected);
    }

    #[test]
    fn any_byte_but_zero_is_true() {
        let file = file(1, &header("|b1", "False", "(3,)"), &[0, 1, 255]);
        assert_eq!(read_npy(&file).unwrap().bytes(), [0, 1, 1]);
    }

    #[test]
    fn headers_may_be_written_in_other_ways() {
        let loose = "{\"shape\": (2L, 1L),\n 'fortran_order': False, 'descr': '<u1'}";
        assert_eq!(read_npy(&file(1, loose, &[7, 8])).unwrap().sizes(), [2, 1]);
    }

    #[test]
    fn what_is_not_an_array_is_refused() {
        let cases: &[(&str, &[u8], &str)] = &[
            ("", &[], "where '{' is expected"),
            ("{'descr': '<f4', 'shape': ()}", &[], "fortran_order"),
            ("{'descr': [('a', '<f4')]}", &[], "records"),
            ("{'descr': '<f4", &[], "does not end"),
            ("{'other': 1}", &[], "unknown key"),
            (&header("|O", "False", "()"), &[], "\"|O\""),
            (
                &header("<U0", "False", "(9999999999,)"),
                &[],
                "strings of 0",
            ),
            (&header("<U1", "False", "()"), &[0, 0, 0, 255], "character"),
            (&header("<f4", "Maybe", "()"), &[], "neither"),
            (&header("<f4", "False", "(-1,)"), &[], "not a size"),
            (
                &header("<f4", "False", "(99999999999999999999,)"),
                &[],
                "not a size",
            ),
            (&header("<f4", "False", "(2,)"), &[0; 7], "7 bytes"),
            (&header("<f4", "False", "(2,)"), &[0; 9], "9 bytes"),
            (
                &header("<f8", "False", "(2305843009213693952, 8)"),
                &[],
                "0 bytes",
            ),
        ];
        for (header, data, expected) in cases {
            let why = why(&file(1, header, data));
            assert!(why.contains(expected), "{header}: {why}");
        }
        let deep = format!("({})", "1, ".repeat(MAX_RANK + 1));
        assert!(why(&file(1, &header("|u1", "False", &deep), &[0])).contains("dimensions"));
        assert!(why(b"PK\x03\x04").contains("NUMPY"));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = write_npy(&Tensor::vector(&[1.0_f32, 2.0])).unwrap();
        for len in 0..whole.len() {
            assert!(read_npy(&whole[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_huge_header_is_not_read() {
        let mut file = [MAGIC, &[3, 0]].concat();
        file.extend(u32::MAX.to_le_bytes());
        assert_eq!(read_npy(&file).unwrap_err().kind, ErrorKind::TooLarge);
    }
}
