//! What a connection does with the frames of its client; it knows no sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use sentinel_inference::error::{Error, ErrorKind};
use sentinel_inference::wire::{FromClient, FromWorker, InferRequest};

use super::flight::InFlight;
use super::outbox::{Closing, Outbox, Outlet, outbox};
use super::request::{self, check_id, failure};
use super::upload::Uploads;
use crate::context::Context;
use crate::memory::Share;

pub const GOING: Closing = Closing {
    code: 1001,
    reason: "the worker goes away",
};
pub const NO_FRAME: Closing = Closing {
    code: 1002,
    reason: "a frame that is none",
};
pub const TOO_LARGE: Closing = Closing {
    code: 1009,
    reason: "a message beyond the limits",
};

/// Its requests end with it.
pub struct Session {
    context: Arc<Context>,
    in_flight: Arc<InFlight>,
    outbox: Outbox,
    uploads: Uploads,
}

impl Session {
    pub fn new(context: Arc<Context>) -> (Session, Outlet) {
        let in_flight = Arc::new(InFlight::new(context.credits as usize));
        let (outbox, outlet) = outbox(in_flight.clone());
        let session = Session {
            uploads: Uploads::new(context.clone(), outbox.clone()),
            context,
            in_flight,
            outbox,
        };
        (session, outlet)
    }

    pub async fn hello(&self) {
        self.outbox.write(request::hello(&self.context)).await;
    }

    pub async fn tell_models(&self) {
        let models = self.context.service.models();
        self.outbox.say(&FromWorker::Models { models }).await;
    }

    pub async fn tell_draining(&self) {
        self.outbox.say(&FromWorker::Draining {}).await;
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Done when all answers are out.
    pub async fn answered(&self) {
        self.in_flight.emptied().await;
    }

    /// Ends what is under way, and says why after what is written already.
    pub async fn close(&self, closing: Closing) {
        self.in_flight.cancel_all();
        self.outbox.close(closing).await;
    }

    /// # Errors
    /// Why the connection has to end; the client is told already.
    pub async fn receive(&mut self, message: Bytes) -> Result<(), Closing> {
        let arrived = Instant::now();
        let (said, payload) = match request::read(message, self.context.limits).await {
            Ok(read) => read,
            Err(error) => return self.refuse(&error).await,
        };
        match said {
            FromClient::Infer(request) => {
                if let Err(error) = check_id(&request.id) {
                    return self.refuse(&error).await;
                }
                self.infer(request, payload, arrived).await;
            }
            FromClient::Cancel { id } => {
                // An answer that is out already crossed the cancel on its way.
                self.in_flight.cancel(&id);
            }
            FromClient::Ping { id } => {
                let queue_depth = self.queue_depth();
                self.outbox.say(&FromWorker::Pong { id, queue_depth }).await;
            }
            FromClient::Upload(upload) => {
                if let Err(error) = check_id(&upload.id) {
                    return self.refuse(&error).await;
                }
                self.uploads.begin(upload).await;
            }
            FromClient::UploadChunk(chunk) => self.uploads.append(chunk, payload).await,
            FromClient::Open { .. } | FromClient::Part { .. } => {
                let why = "frames in parts are for NATS";
                let error = Error::new(ErrorKind::InvalidInput, "header", why);
                return self.refuse(&error).await;
            }
        }
        Ok(())
    }

    async fn infer(&self, request: InferRequest, payload: Bytes, arrived: Instant) {
        let counters = &self.context.counters;
        counters.requests_websocket.fetch_add(1, Ordering::Relaxed);
        let id = request.id.clone();
        let context = self.context.clone();
        let outbox = self.outbox.clone();
        let begun = self.in_flight.begin(&id, move |ticket| {
            let task = tokio::spawn(async move {
                let mut memory = Share::default();
                let answered = request::answer(&context, request, payload, arrived, &mut memory);
                let frame = answered.await;
                outbox.answer(ticket, frame, memory).await;
            });
            task.abort_handle()
        });
        if let Err(error) = begun {
            self.outbox.write(failure(&id, &error)).await;
        }
    }

    /// Whatever comes after a frame that is none cannot be trusted.
    async fn refuse(&self, error: &Error) -> Result<(), Closing> {
        let counters = &self.context.counters;
        counters.refused.fetch_add(1, Ordering::Relaxed);
        self.outbox.write(failure("", error)).await;
        Err(match error.kind {
            ErrorKind::TooLarge => TOO_LARGE,
            _ => NO_FRAME,
        })
    }

    fn queue_depth(&self) -> usize {
        let models = self.context.service.statistics();
        let depths = models.iter().map(|model| model.snapshot.queue_depth);
        usize::try_from(depths.sum::<u64>()).unwrap_or(usize::MAX)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.in_flight.cancel_all();
    }
}
