//! Frames that come in parts, because one message of NATS may not hold them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use sentinel_inference::error::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

/// What comes of a frame in parts.
pub type Joined = Result<Bytes>;

/// Frames whose parts are awaited, by id.
pub struct Parts {
    max_frame_bytes: usize,
    /// Of all frames together.
    max_bytes: usize,
    frames: Mutex<Frames>,
}

#[derive(Default)]
struct Frames {
    by_id: HashMap<String, Announced>,
    /// Announced, whether they have come or not.
    n_bytes: usize,
    n_announced: u64,
}

struct Announced {
    serial: u64,
    size_bytes: usize,
    count: Option<usize>,
    n_parts: usize,
    bytes: BytesMut,
    joined: oneshot::Sender<Joined>,
}

/// Waits for a frame; the parts are kept as long as it lives.
pub struct Awaited {
    parts: Arc<Parts>,
    id: String,
    serial: u64,
    pub joined: oneshot::Receiver<Joined>,
}

/// One part, as its header has it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub id: &'a str,
    pub index: usize,
    pub count: usize,
}

impl Parts {
    pub fn new(max_frame_bytes: usize, n_frames: usize) -> Arc<Parts> {
        Arc::new(Parts {
            max_frame_bytes,
            max_bytes: max_frame_bytes.saturating_mul(n_frames),
            frames: Mutex::default(),
        })
    }

    /// Awaits a frame; one of the same id that is not whole yet is forgotten.
    ///
    /// # Errors
    /// `TOO_LARGE`; `QUEUE_FULL` where other frames have all the room; `INVALID_INPUT` for an empty one.
    pub fn announce(self: &Arc<Parts>, id: &str, size_bytes: usize) -> Result<Awaited> {
        let wrong = |kind, why| Err(Error::new(kind, "open", why));
        if size_bytes == 0 {
            return wrong(ErrorKind::InvalidInput, "0 bytes are no frame".to_owned());
        }
        if size_bytes > self.max_frame_bytes {
            let limit = self.max_frame_bytes;
            let why = format!("{size_bytes} bytes, and the limit is {limit}");
            return wrong(ErrorKind::TooLarge, why);
        }
        let mut frames = self.frames();
        frames.forget(id);
        if frames.n_bytes + size_bytes > self.max_bytes {
            let why = format!("{} bytes of other requests are awaited", frames.n_bytes);
            return wrong(ErrorKind::QueueFull, why);
        }
        frames.n_bytes += size_bytes;
        frames.n_announced += 1;
        let serial = frames.n_announced;
        let (sender, joined) = oneshot::channel();
        let announced = Announced {
            serial,
            size_bytes,
            count: None,
            n_parts: 0,
            bytes: BytesMut::new(),
            joined: sender,
        };
        frames.by_id.insert(id.to_owned(), announced);
        Ok(Awaited {
            parts: self.clone(),
            id: id.to_owned(),
            serial,
            joined,
        })
    }

    /// Takes a part in; those of a frame that nobody awaits are nothing to anybody.
    pub fn take(&self, part: Part, bytes: &[u8]) {
        let mut frames = self.frames();
        let Some(announced) = frames.by_id.get_mut(part.id) else {
            return;
        };
        let joined = match announced.append(part, bytes) {
            Ok(false) => return,
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        let Some(announced) = frames.forget(part.id) else {
            return;
        };
        let joined = joined.map(|()| announced.bytes.freeze());
        // Whoever awaited it may have been cancelled meanwhile.
        let _ = announced.joined.send(joined);
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frames {
    fn forget(&mut self, id: &str) -> Option<Announced> {
        let announced = self.by_id.remove(id)?;
        self.n_bytes -= announced.size_bytes;
        Some(announced)
    }
}

impl Announced {
    /// Whether the frame is whole now.
    fn append(&mut self, part: Part, bytes: &[u8]) -> Result<bool> {
        let wrong = |why: String| Err(Error::new(ErrorKind::InvalidInput, "part", why));
        let Part { index, count, .. } = part;
        let first_count = *self.count.get_or_insert(count);
        if count != first_count || index >= count {
            let why = format!("{index} of {count}, the first was of {first_count}");
            return wrong(why);
        }
        if index < self.n_parts {
            return Ok(false);
        }
        if index > self.n_parts {
            // NATS keeps the order: what is missing will not come, and the client has to send all of it again.
            let why = format!("part {} of {count} was lost on its way", self.n_parts);
            return Err(Error::new(ErrorKind::WorkerUnavailable, "part", why));
        }
        let n_bytes = self.bytes.len() + bytes.len();
        let is_last = index + 1 == count;
        if n_bytes > self.size_bytes || (is_last && n_bytes < self.size_bytes) {
            let why = format!(
                "{n_bytes} bytes with part {index} of {count}, {} announced",
                self.size_bytes
            );
            return wrong(why);
        }
        self.bytes.extend_from_slice(bytes);
        self.n_parts += 1;
        Ok(is_last)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut frames = self.parts.frames();
        let found = frames.by_id.get(&self.id);
        if found.is_some_and(|announced| announced.serial == self.serial) {
            frames.forget(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(id: &str, index: usize, count: usize) -> Part<'_> {
        Part { id, index, count }
    }

    fn n_bytes(parts: &Parts) -> usize {
        parts.frames().n_bytes
    }

    #[test]
    fn parts_in_order_are_the_frame_and_give_their_room_back() {
        let parts = Parts::new(8, 1);
        let mut awaited = parts.announce("a", 5).unwrap();
        parts.take(part("a", 0, 2), b"abc");
        assert!(awaited.joined.try_recv().is_err());
        parts.take(part("a", 1, 2), b"de");
        assert_eq!(
            awaited.joined.try_recv().unwrap(),
            Ok(Bytes::from_static(b"abcde"))
        );
        assert_eq!(n_bytes(&parts), 0);
    }

    #[test]
    fn a_part_that_comes_twice_counts_once() {
        let parts = Parts::new(8, 1);
        let mut awaited = parts.announce("a", 4).unwrap();
        for (index, bytes) in [(0, b"ab"), (0, b"ab"), (1, b"cd")] {
            parts.take(part("a", index, 2), bytes);
        }
        assert_eq!(
            awaited.joined.try_recv().unwrap(),
            Ok(Bytes::from_static(b"abcd"))
        );
    }

    #[test]
    fn a_lost_part_sends_the_client_elsewhere_and_wrong_ones_are_its_fault() {
        for (given, kind) in [
            (vec![(1, 3, "ab")], ErrorKind::WorkerUnavailable),
            (vec![(0, 2, "ab"), (1, 3, "cd")], ErrorKind::InvalidInput),
            (vec![(2, 2, "ab")], ErrorKind::InvalidInput),
            (vec![(0, 0, "")], ErrorKind::InvalidInput),
            (vec![(0, 2, "abcde")], ErrorKind::InvalidInput),
            (vec![(0, 1, "ab")], ErrorKind::InvalidInput),
        ] {
            let parts = Parts::new(8, 1);
            let mut awaited = parts.announce("a", 4).unwrap();
            for (index, count, bytes) in &given {
                parts.take(part("a", *index, *count), bytes.as_bytes());
            }
            let refused = awaited.joined.try_recv().unwrap().unwrap_err();
            assert_eq!((refused.kind, n_bytes(&parts)), (kind, 0), "{given:?}");
        }
    }

    #[test]
    fn frames_beyond_the_room_are_refused_until_others_are_given_up() {
        let parts = Parts::new(8, 2);
        let kind = |size_bytes| parts.announce("z", size_bytes).err().map(|e| e.kind);
        assert_eq!(kind(9), Some(ErrorKind::TooLarge));
        assert_eq!(kind(0), Some(ErrorKind::InvalidInput));
        let first = parts.announce("a", 8).unwrap();
        let _second = parts.announce("b", 8).unwrap();
        assert_eq!(kind(1), Some(ErrorKind::QueueFull));
        drop(first);
        assert_eq!(kind(8), None);
    }

    #[test]
    fn a_frame_that_is_announced_again_begins_again() {
        let parts = Parts::new(8, 1);
        let first = parts.announce("a", 8).unwrap();
        parts.take(part("a", 0, 2), b"abcd");
        let mut second = parts.announce("a", 2).unwrap();
        drop(first);
        parts.take(part("a", 0, 1), b"xy");
        let joined = second.joined.try_recv().unwrap();
        assert_eq!(joined, Ok(Bytes::from_static(b"xy")));
    }

    proptest! {
        #[test]
        fn whatever_parts_come_no_more_is_kept_than_was_announced(
            given in prop::collection::vec((0..3_usize, 0..5_usize, 0..5_usize, 0..12_usize), 0..40),
        ) {
            let parts = Parts::new(8, 2);
            let ids = ["a", "b", "c"];
            let mut awaited = Vec::new();
            for (id, index, count, size_bytes) in given {
                awaited.extend(parts.announce(ids[id], size_bytes).ok().filter(|_| index == 0));
                parts.take(part(ids[id], index, count), &vec![0; size_bytes]);
                let frames = parts.frames();
                prop_assert!(frames.n_bytes <= 16);
                prop_assert!(frames.by_id.values().all(|x| x.bytes.len() <= x.size_bytes));
            }
            drop(awaited);
            prop_assert_eq!(n_bytes(&parts), 0);
        }
    }
}
