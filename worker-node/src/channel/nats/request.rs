//! One request, from its message to its answer.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::Subject;
use bytes::Bytes;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::{Frame, FromClient, FromWorker, InferRequest};
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::{Door, check_model, is_connected};
use crate::channel::flight::Ticket;
use crate::channel::parts::Awaited;
use crate::channel::request::{answer, failure, frame, read};
use crate::memory::Share;

/// How often a client hears that its request is not lost.
const WORKING: Duration = Duration::from_secs(1);
/// How long the parts of a request may take.
const PARTS: Duration = Duration::from_secs(30);
/// Of a part that is neither its id nor its payload: names, digits and the checksum.
const PART_HEADER_BYTES: usize = 256;

/// What a client asks for.
pub enum Asked {
    Whole {
        request: InferRequest,
        payload: Bytes,
        arrived: Instant,
    },
    /// Announced on this subject.
    InParts { subject: Subject, awaited: Awaited },
}

impl Door {
    /// Begins a request, and takes the place of one with the same id: its client has given that one up.
    pub(super) async fn begin(self: &Arc<Door>, id: &str, asked: Asked, reply: Subject) {
        let counters = &self.context.counters;
        counters.requests_nats.fetch_add(1, Ordering::Relaxed);
        self.in_flight.cancel(id);
        let door = self.clone();
        let to = reply.clone();
        let begun = self.in_flight.begin(id, |ticket| {
            let run = async move { door.run(&ticket, asked, &to).await };
            self.tasks.spawn(run).abort_handle()
        });
        if let Err(error) = begun {
            self.publish(&reply, failure(id, &error)).await;
        }
    }

    async fn run(&self, ticket: &Ticket, asked: Asked, reply: &Subject) {
        let id = &ticket.id;
        if let Asked::InParts { .. } = asked {
            let opened = FromWorker::Opened {
                id: id.clone(),
                subject: self.part_subject.to_string(),
                part_bytes: self.part_bytes(id),
            };
            self.publish(reply, frame(&opened)).await;
        }
        let working = frame(&FromWorker::Working {
            id: id.clone(),
            worker_id: self.context.worker_id.clone(),
        });
        self.publish(reply, working.clone()).await;
        let mut ticks = interval_at(tokio::time::Instant::now() + WORKING, WORKING);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut memory = Share::default();
        let mut answered = pin!(self.answer(id, asked, &mut memory));
        let answer = loop {
            tokio::select! {
                _ = ticks.tick() => {
                    // A server that comes back need not hear of what was long ago.
                    if is_connected(&self.client) {
                        self.publish(reply, working.clone()).await;
                    }
                }
                answer = &mut answered => break answer,
            }
        };
        self.publish_answer(reply, id, answer).await;
        self.in_flight.end(ticket);
    }

    async fn answer(&self, id: &str, asked: Asked, memory: &mut Share) -> Bytes {
        let context = &self.context;
        match asked {
            Asked::Whole {
                request,
                payload,
                arrived,
            } => answer(context, request, payload, arrived, memory).await,
            Asked::InParts { subject, awaited } => match self.join(id, &subject, awaited).await {
                Ok((request, payload)) => {
                    answer(context, request, payload, Instant::now(), memory).await
                }
                Err(error) => failure(id, &error),
            },
        }
    }

    /// Waits for the parts of a request.
    async fn join(
        &self,
        id: &str,
        subject: &Subject,
        mut awaited: Awaited,
    ) -> Result<(InferRequest, Bytes)> {
        let lost = |why: &'static str| Error::new(ErrorKind::WorkerUnavailable, "parts", why);
        let joined = tokio::select! {
            joined = timeout(PARTS, &mut awaited.joined) => joined,
            () = self.context.draining.cancelled() => {
                return Err(lost("the worker takes no more of them, for it is about to end"));
            }
        };
        let joined = joined.map_err(|_| lost("they did not come in 30 seconds"))?;
        let message = joined.map_err(|_| lost("the request was announced again"))??;
        drop(awaited);
        let (said, payload) = read(message, self.context.limits).await?;
        let wrong = |why: &'static str| Error::new(ErrorKind::InvalidInput, "parts", why);
        let FromClient::Infer(request) = said else {
            return Err(wrong("they are no infer"));
        };
        if request.id != id {
            return Err(wrong("they are a request of another id"));
        }
        check_model(&request.model_name, subject)?;
        Ok((request, payload))
    }

    async fn publish_answer(&self, reply: &Subject, id: &str, mut frame: Bytes) {
        if frame.len() <= self.client.max_payload() {
            return self.publish(reply, frame).await;
        }
        let part_bytes = self.part_bytes(id);
        let count = frame.len().div_ceil(part_bytes);
        for index in 0..count {
            let payload = frame.split_to(part_bytes.min(frame.len()));
            let part = FromWorker::Part {
                id: id.to_owned(),
                index,
                count,
            };
            self.publish(reply, Frame::write(&part, &[payload])).await;
        }
    }

    /// What of a frame goes into one message.
    fn part_bytes(&self, id: &str) -> usize {
        // In JSON, a byte of an id is at most six.
        let header_bytes = PART_HEADER_BYTES + 6 * id.len();
        let payload_bytes = self.client.max_payload().saturating_sub(header_bytes);
        payload_bytes.max(PART_HEADER_BYTES)
    }
}
