//! What waits to be written to a connection.

use std::sync::Arc;

use bytes::Bytes;
use sentinel_inference::wire::FromWorker;
use tokio::sync::mpsc;

use super::flight::{InFlight, Ticket};
use super::request::frame;
use crate::memory::Share;

/// Of messages that are no answers; whoever has one more waits until the client has read.
const N_WAITING: usize = 8;

/// Why a connection ends: a closing code and what it says to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    pub code: u16,
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    Frame(Bytes),
    Close(Closing),
}

enum Waiting {
    Message(Outgoing),
    Answer(Ticket, Bytes, Share),
}

/// Takes messages in. An answer that waits keeps its credit, so that no more of them wait than there are credits, and its
/// request's memory.
#[derive(Clone)]
pub struct Outbox(mpsc::Sender<Waiting>);

/// Gives messages out, in their order.
pub struct Outlet {
    waiting: mpsc::Receiver<Waiting>,
    in_flight: Arc<InFlight>,
}

pub fn outbox(in_flight: Arc<InFlight>) -> (Outbox, Outlet) {
    let (sender, waiting) = mpsc::channel(N_WAITING);
    (Outbox(sender), Outlet { waiting, in_flight })
}

impl Outbox {
    pub async fn say(&self, message: &FromWorker) {
        self.write(frame(message)).await;
    }

    pub async fn write(&self, frame: Bytes) {
        self.put(Waiting::Message(Outgoing::Frame(frame))).await;
    }

    pub async fn answer(&self, ticket: Ticket, frame: Bytes, memory: Share) {
        self.put(Waiting::Answer(ticket, frame, memory)).await;
    }

    /// Nothing is written after it.
    pub async fn close(&self, closing: Closing) {
        self.put(Waiting::Message(Outgoing::Close(closing))).await;
    }

    async fn put(&self, waiting: Waiting) {
        // Without a reader the connection has ended, and nobody waits for this.
        let _ = self.0.send(waiting).await;
    }
}

impl Outlet {
    /// What is to be written next; `None` when nobody can put anything in.
    pub async fn next(&mut self) -> Option<Outgoing> {
        loop {
            match self.waiting.recv().await? {
                Waiting::Message(message) => return Some(message),
                // The credit and the memory are back before the client can know it.
                Waiting::Answer(ticket, frame, memory) => {
                    drop(memory);
                    if self.in_flight.end(&ticket) {
                        return Some(Outgoing::Frame(frame));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_was_cancelled_while_it_waited_is_not_written() {
        let in_flight = Arc::new(InFlight::new(2));
        let (outbox, mut outlet) = outbox(in_flight.clone());
        for id in ["a", "b"] {
            let outbox = outbox.clone();
            let start = |ticket: Ticket| {
                let frame = Bytes::copy_from_slice(ticket.id.as_bytes());
                tokio::spawn(async move { outbox.answer(ticket, frame, Share::default()).await })
                    .abort_handle()
            };
            in_flight.begin(id, start).unwrap();
        }
        // Both answers are in the outbox after each task has run.
        tokio::task::yield_now().await;
        in_flight.cancel("a");
        let written = outlet.next().await;
        assert_eq!(written, Some(Outgoing::Frame(Bytes::from_static(b"b"))));
        assert!(in_flight.is_empty());
    }
}
