//! Frames: `u32` little-endian length of the header, the header as a JSON object, and the bytes of the tensors one after
//! the other, in the order in which the header names them. Where the highest bit of the length is set, the CRC-32 (IEEE
//! 802.3) of all that comes before it is the last four bytes.

use bytes::Bytes;
use serde::Serialize;

use super::Limits;
use crate::error::{Error, ErrorKind, Result};

/// Tensors begin at a multiple of this where the writer is ours, so that readers need not move them.
const ALIGNMENT: usize = 8;
/// In the length of the header: a checksum follows the tensors.
const CHECKED: u32 = 1 << 31;
const CHECKSUM_BYTES: usize = 4;

/// One message, cut in two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub header: Bytes,
    pub payload: Bytes,
}

impl Frame {
    /// Cuts a message, after its checksum where it has one; nothing is copied.
    ///
    /// # Errors
    /// `TOO_LARGE` beyond the limits; `INVALID_INPUT` where the header is longer than the message, and where the checksum is
    /// not that of the message.
    pub fn read(mut message: Bytes, limits: &Limits) -> Result<Frame> {
        let limit = limits.max_message_bytes;
        if message.len() > limit {
            return Err(too_large("message", message.len(), limit));
        }
        let Some((first, _)) = message.split_first_chunk() else {
            return Err(wrong(format!("{} bytes are no frame", message.len())));
        };
        let first = u32::from_le_bytes(*first);
        let length = (first & !CHECKED) as usize;
        if length > limits.max_header_bytes {
            return Err(too_large("header", length, limits.max_header_bytes));
        }
        if first & CHECKED != 0 {
            let end = message.len().saturating_sub(CHECKSUM_BYTES).max(4);
            let given = message.split_off(end);
            if given[..] != crc32fast::hash(&message).to_le_bytes() {
                return Err(wrong("its checksum is not that of its bytes".into()));
            }
        }
        let mut header = message.split_off(4);
        if length > header.len() {
            let why = format!("a header of {length} bytes, {} are there", header.len());
            return Err(wrong(why));
        }
        let payload = header.split_off(length);
        Ok(Frame { header, payload })
    }

    /// A message of a header and the bytes of its tensors, with its checksum.
    pub fn write<T: Serialize>(header: &T, tensors: &[Bytes]) -> Bytes {
        let mut message = vec![0; 4];
        serde_json::to_writer(&mut message, header).expect("headers have text for keys");
        while !tensors.is_empty() && !message.len().is_multiple_of(ALIGNMENT) {
            message.push(b' ');
        }
        let length = u32::try_from(message.len() - 4).expect("headers are small");
        message[..4].copy_from_slice(&(length | CHECKED).to_le_bytes());
        let n_bytes: usize = tensors.iter().map(Bytes::len).sum();
        message.reserve_exact(n_bytes + CHECKSUM_BYTES);
        for tensor in tensors {
            message.extend_from_slice(tensor);
        }
        let checksum = crc32fast::hash(&message);
        message.extend_from_slice(&checksum.to_le_bytes());
        message.into()
    }
}

fn wrong(why: String) -> Error {
    Error::new(ErrorKind::InvalidInput, "frame", why)
}

pub(super) fn too_large(what: &str, n: usize, limit: usize) -> Error {
    let why = format!("{n} bytes, and the limit is {limit}");
    Error::new(ErrorKind::TooLarge, what, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_where_its_header_ends() {
        let message = Frame::write(&serde_json::json!({"a": 1}), &[Bytes::from_static(b"xyz")]);
        let frame = Frame::read(message, &Limits::default()).unwrap();
        assert_eq!(&frame.header[..], b"{\"a\":1}     ");
        assert_eq!(&frame.payload[..], b"xyz");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let limits = Limits::default();
        let message = Frame::write(&serde_json::json!({"a": 1}), &[Bytes::from_static(b"xyz")]);
        for at in 0..message.len() * 8 {
            let mut bytes = message.to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            match Frame::read(bytes.into(), &limits) {
                Err(_) => {}
                // Without its mark the checksum is bytes of no tensor.
                Ok(frame) => assert_eq!((at, frame.payload.len()), (31, 7)),
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let limits = Limits {
            max_message_bytes: 16,
            max_header_bytes: 8,
            ..Limits::default()
        };
        let read = |bytes: &'static [u8]| Frame::read(Bytes::from_static(bytes), &limits);
        assert_eq!(read(&[1, 0, 0]).unwrap_err().kind, ErrorKind::InvalidInput);
        assert_eq!(
            read(&[3, 0, 0, 0, b'{', b'}']).unwrap_err().kind,
            ErrorKind::InvalidInput
        );
        assert_eq!(
            read(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
                .unwrap_err()
                .kind,
            ErrorKind::TooLarge
        );
        assert_eq!(read(&[0; 17]).unwrap_err().kind, ErrorKind::TooLarge);
        assert!(read(&[2, 0, 0, 0, b'{', b'}']).is_ok());
    }
}
