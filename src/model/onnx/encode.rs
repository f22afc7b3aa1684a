//! Protobuf's wire format, written. Large payloads are kept by reference until the end, so that
//! weights are copied once however deep they are nested.

use bytes::Bytes;

/// Shorter payloads are copied: keeping them apart costs more.
const SHARED_BYTES: usize = 1024;

/// One message in the making.
#[derive(Default)]
pub struct Message {
    small: Vec<u8>,
    /// Payloads and where in `small` they belong.
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
}

impl Message {
    fn len(&self) -> usize {
        self.small.len() + self.large_bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.small.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.small.push(value as u8);
    }

    fn key(&mut self, number: u32, wire: u64) {
        self.varint(u64::from(number) << 3 | wire);
    }

    pub fn int(&mut self, number: u32, value: i64) {
        self.key(number, 0);
        self.varint(value.cast_unsigned());
    }

    pub fn float(&mut self, number: u32, value: f32) {
        self.key(number, 5);
        self.small.extend(value.to_le_bytes());
    }

    pub fn chunk(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, 2);
        self.varint(bytes.len() as u64);
        self.small.extend(bytes);
    }

    pub fn shared(&mut self, number: u32, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES {
            return self.chunk(number, bytes);
        }
        self.key(number, 2);
        self.varint(bytes.len() as u64);
        self.large.push((self.small.len(), bytes.clone()));
        self.large_bytes += bytes.len();
    }

    pub fn text(&mut self, number: u32, text: &str) {
        self.chunk(number, text.as_bytes());
    }

    /// Text that is left out when it is empty.
    pub fn text_if_any(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.text(number, text);
        }
    }

    pub fn message(&mut self, number: u32, inner: Message) {
        self.key(number, 2);
        self.varint(inner.len() as u64);
        let start = self.small.len();
        self.small.extend(inner.small);
        self.large.extend(
            inner
                .large
                .into_iter()
                .map(|(at, bytes)| (start + at, bytes)),
        );
        self.large_bytes += inner.large_bytes;
    }

    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        let mut copied = 0;
        for (at, payload) in &self.large {
            bytes.extend(&self.small[copied..*at]);
            bytes.extend(payload);
            copied = *at;
        }
        bytes.extend(&self.small[copied..]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_payloads_land_where_they_belong() {
        let payload = Bytes::from(vec![7; SHARED_BYTES]);
        let mut inner = Message::default();
        inner.int(1, -1);
        inner.shared(2, &payload);
        inner.text(3, "end");
        let mut outer = Message::default();
        outer.text(1, "start");
        outer.message(2, inner);
        let bytes = outer.into_bytes();
        let mut expected = b"\x0a\x05start\x12\x93\x08\x08".to_vec();
        expected.extend([0xff; 9]);
        expected.extend(b"\x01\x12\x80\x08");
        expected.extend(&payload);
        expected.extend(b"\x1a\x03end");
        assert_eq!(bytes, expected);
    }
}
