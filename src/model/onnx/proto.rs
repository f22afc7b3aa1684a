//! Protobuf's wire format, read without trust: every length is checked against the bytes that are
//! there before anything is allocated, and nesting and the number of messages are bounded.

use std::cell::Cell;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// Messages inside messages; a graph in a graph takes three.
const MAX_DEPTH: u8 = 64;

/// A message costs far more memory than the few bytes that it may take in a file.
const MAX_MESSAGES: usize = 1 << 21;

/// The file and how many more messages it may hold.
pub struct Source {
    bytes: Bytes,
    messages_left: Cell<usize>,
}

impl Source {
    pub fn new(bytes: Bytes) -> Source {
        Source {
            bytes,
            messages_left: Cell::new(MAX_MESSAGES),
        }
    }

    /// The whole file as one message of the given type.
    pub fn root(&self, message: &'static str) -> Reader<'_> {
        Reader {
            source: self,
            position: 0,
            end: self.bytes.len(),
            message,
            depth: 0,
        }
    }
}

/// The fields of one message, in file order.
pub struct Reader<'a> {
    source: &'a Source,
    position: usize,
    end: usize,
    message: &'static str,
    depth: u8,
}

/// One field: its number and its value on the wire.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    pub number: u32,
    source: &'a Source,
    message: &'static str,
    depth: u8,
    at: usize,
    wire: Wire,
}

#[derive(Clone, Copy)]
enum Wire {
    Varint(u64),
    Fixed64(u64),
    Chunk { start: usize, end: usize },
    Fixed32(u32),
}

impl<'a> Reader<'a> {
    /// Where the reader is, in bytes from the start of the file.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes of this message that are still to be read.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// The next field, or `None` at the end of the message.
    ///
    /// # Errors
    /// `MODEL_PARSE` for bytes that are no field or reach beyond the message.
    pub fn next(&mut self) -> Result<Option<Field<'a>>> {
        if self.position == self.end {
            return Ok(None);
        }
        let at = self.position;
        let place = |number: u64| match number {
            0 => format!("{} at byte {at}", self.message),
            number => format!("{} field {number} at byte {at}", self.message),
        };
        let broken = |number: u64, why: &'static str| Error::parse(place(number), why);
        let bytes = &self.source.bytes[..self.end];
        let mut position = at;
        let key = varint(bytes, &mut position)
            .ok_or_else(|| broken(0, "a field's number is cut off or too large"))?;
        let number = key >> 3;
        if number == 0 || number >= 1 << 29 {
            return Err(broken(
                0,
                "a field's number is out of range: not a protobuf message",
            ));
        }
        let rest = bytes.len() - position;
        let wire = match key & 7 {
            0 => Wire::Varint(
                varint(bytes, &mut position)
                    .ok_or_else(|| broken(number, "a number is cut off or too large"))?,
            ),
            1 => {
                let fixed = bytes.get(position..).and_then(<[u8]>::first_chunk);
                let fixed = fixed.ok_or_else(|| broken(number, "a number is cut off"))?;
                position += 8;
                Wire::Fixed64(u64::from_le_bytes(*fixed))
            }
            2 => {
                let length = varint(bytes, &mut position)
                    .ok_or_else(|| broken(number, "a length is cut off or too large"))?;
                let rest = bytes.len() - position;
                let Some(length) = usize::try_from(length).ok().filter(|&n| n <= rest) else {
                    let why = format!("{length} bytes are declared and {rest} are there");
                    return Err(Error::parse(place(number), why));
                };
                let start = position;
                position += length;
                Wire::Chunk {
                    start,
                    end: position,
                }
            }
            5 if rest >= 4 => {
                let fixed = bytes.get(position..).and_then(<[u8]>::first_chunk);
                let fixed = fixed.ok_or_else(|| broken(number, "a number is cut off"))?;
                position += 4;
                Wire::Fixed32(u32::from_le_bytes(*fixed))
            }
            5 => return Err(broken(number, "a number is cut off")),
            _ => return Err(broken(number, "a wire type that ONNX does not use")),
        };
        self.position = position;
        Ok(Some(Field {
            number: u32::try_from(number).expect("the number is below 2^29"),
            source: self.source,
            message: self.message,
            depth: self.depth,
            at,
            wire,
        }))
    }
}

/// A little-endian base-128 number of at most 64 bits.
fn varint(bytes: &[u8], position: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*position)?;
        *position += 1;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

impl<'a> Field<'a> {
    /// Where the field is, for errors: `GraphProto.node at byte 12`.
    pub fn place(&self, name: &str) -> String {
        format!("{}.{name} at byte {}", self.message, self.at)
    }

    fn mismatch(&self, name: &str, expected: &str) -> Error {
        let found = match self.wire {
            Wire::Varint(_) => "a varint",
            Wire::Fixed64(_) => "8 bytes",
            Wire::Chunk { .. } => "a chunk",
            Wire::Fixed32(_) => "4 bytes",
        };
        Error::parse(
            self.place(name),
            format!("{expected} is expected, {found} is found"),
        )
    }

    pub fn int(&self, name: &str) -> Result<i64> {
        match self.wire {
            Wire::Varint(value) => Ok(value.cast_signed()),
            _ => Err(self.mismatch(name, "a varint")),
        }
    }

    pub fn float(&self, name: &str) -> Result<f32> {
        match self.wire {
            Wire::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err(self.mismatch(name, "a 4-byte number")),
        }
    }

    fn range(&self, name: &str) -> Result<std::ops::Range<usize>> {
        match self.wire {
            Wire::Chunk { start, end } => Ok(start..end),
            _ => Err(self.mismatch(name, "a chunk")),
        }
    }

    pub fn chunk(&self, name: &str) -> Result<&'a [u8]> {
        Ok(&self.source.bytes[self.range(name)?])
    }

    /// The chunk as a slice that shares the file's memory.
    pub fn shared(&self, name: &str) -> Result<Bytes> {
        Ok(self.source.bytes.slice(self.range(name)?))
    }

    pub fn text(&self, name: &str) -> Result<&'a str> {
        std::str::from_utf8(self.chunk(name)?)
            .map_err(|_| Error::parse(self.place(name), "the text is not UTF-8"))
    }

    /// The chunk as a message of the given type.
    ///
    /// # Errors
    /// `MODEL_PARSE` when messages nest too deep, `TOO_LARGE` when there are too many.
    pub fn message(&self, name: &str, message: &'static str) -> Result<Reader<'a>> {
        let range = self.range(name)?;
        if self.depth == MAX_DEPTH {
            let why = format!("messages nest deeper than {MAX_DEPTH}");
            return Err(Error::parse(self.place(name), why));
        }
        let Some(left) = self.source.messages_left.get().checked_sub(1) else {
            let why = format!("the model has more than {MAX_MESSAGES} messages");
            return Err(Error::new(ErrorKind::TooLarge, self.place(name), why));
        };
        self.source.messages_left.set(left);
        Ok(Reader {
            source: self.source,
            position: range.start,
            end: range.end,
            message,
            depth: self.depth + 1,
        })
    }

    /// Appends repeated integers, packed or one alone.
    pub fn push_ints(&self, name: &str, ints: &mut Vec<i64>) -> Result<()> {
        if let Wire::Varint(value) = self.wire {
            ints.push(value.cast_signed());
            return Ok(());
        }
        let chunk = self.chunk(name)?;
        // Every number ends with a byte below 0x80.
        ints.reserve(chunk.iter().filter(|&&byte| byte < 0x80).count());
        let mut position = 0;
        while position < chunk.len() {
            let value = varint(chunk, &mut position).ok_or_else(|| {
                Error::parse(self.place(name), "a packed number is cut off or too large")
            })?;
            ints.push(value.cast_signed());
        }
        Ok(())
    }

    /// Appends repeated 4-byte or 8-byte numbers, packed or one alone.
    pub fn push_fixed(&self, name: &str, width_bytes: usize, packed: &mut Packed) -> Result<()> {
        match (self.wire, width_bytes) {
            (Wire::Fixed32(bits), 4) => packed.push(&bits.to_le_bytes()),
            (Wire::Fixed64(bits), 8) => packed.push(&bits.to_le_bytes()),
            (Wire::Chunk { start, end }, _) if (end - start) % width_bytes == 0 => {
                packed.append(self.shared(name)?);
            }
            (Wire::Chunk { .. }, _) => {
                return Err(Error::parse(self.place(name), "a packed number is cut off"));
            }
            _ => return Err(self.mismatch(name, "a packed chunk")),
        }
        Ok(())
    }
}

/// Repeated fixed-width numbers as little-endian bytes; one packed chunk stays a slice of the
/// file.
#[derive(Default)]
pub struct Packed {
    one: Bytes,
    more: Vec<u8>,
}

impl Packed {
    fn push(&mut self, number: &[u8]) {
        self.more.extend_from_slice(number);
    }

    fn append(&mut self, chunk: Bytes) {
        if self.one.is_empty() && self.more.is_empty() {
            self.one = chunk;
        } else {
            self.more.extend_from_slice(&chunk);
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        if self.more.is_empty() {
            self.one.clone()
        } else {
            [&self.one[..], &self.more].concat().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &'static [u8]) -> Result<()> {
        let source = Source::new(Bytes::from_static(bytes));
        let mut reader = source.root("Test");
        reader.next().map(|_| ())
    }

    #[test]
    fn fields_that_reach_beyond_the_message_are_refused() {
        assert!(first(&[0x0a, 2, 1, 2]).is_ok());
        assert!(first(&[0x0a, 3, 1, 2]).is_err());
        assert!(first(&[0x0a]).is_err());
        assert!(
            first(&[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1
            ])
            .is_err()
        );
        assert!(first(&[0x08, 0x80]).is_err());
        assert!(first(&[0x0d, 1, 2, 3]).is_err());
        assert!(first(&[0x09, 1, 2, 3, 4, 5, 6, 7]).is_err());
    }

    #[test]
    fn wire_types_and_numbers_outside_the_format_are_refused() {
        for bytes in [&[0x00_u8, 0][..], &[0x0b], &[0x0c], &[0x0e], &[0x0f]] {
            let source = Source::new(Bytes::copy_from_slice(bytes));
            assert!(source.root("Test").next().is_err(), "{bytes:?}");
        }
        let too_long = [0xff_u8; 11];
        assert_eq!(varint(&too_long, &mut 0), None);
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(varint(&largest, &mut 0), Some(u64::MAX));
    }

    #[test]
    fn errors_name_the_message_the_field_and_the_byte() {
        let source = Source::new(Bytes::from_static(&[0x08, 1, 0x12, 9]));
        let mut reader = source.root("ModelProto");
        let field = reader.next().unwrap().unwrap();
        let error = field.text("producer_name").unwrap_err();
        assert_eq!(error.at, "ModelProto.producer_name at byte 0");
        let error = reader.next().map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ModelProto field 2 at byte 2: 9 bytes are declared and 0 are there"
        );
    }

    #[test]
    fn one_packed_chunk_is_not_copied() {
        let source = Source::new(Bytes::from_static(&[0x0a, 4, 1, 2, 3, 4, 0x0d, 5, 6, 7, 8]));
        let mut reader = source.root("Test");
        let mut packed = Packed::default();
        reader
            .next()
            .unwrap()
            .unwrap()
            .push_fixed("x", 4, &mut packed)
            .unwrap();
        assert_eq!(packed.to_bytes().as_ptr(), source.bytes[2..].as_ptr());
        reader
            .next()
            .unwrap()
            .unwrap()
            .push_fixed("x", 4, &mut packed)
            .unwrap();
        assert_eq!(packed.to_bytes()[..], [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
