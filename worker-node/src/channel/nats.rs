//! Requests through NATS: each model that is ready has a subject, which the workers of a queue group share.

mod address;
mod request;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::FromClient;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::address::Address;
use self::address::{HELLO, cancel_subject, infer_subject, part_subject};
use self::request::Asked;
use super::flight::InFlight;
use super::parts::{Part, Parts};
use super::request::{check_id, cut, failure, hello};
use crate::context::Context;

/// All clients together have this many times the requests that one WebSocket has.
const CREDITS: usize = 8;
/// Messages that wait for one subscription; NATS drops those beyond, and their clients send them again.
const N_WAITING: usize = 256;
/// Messages that wait to be written.
const N_UNWRITTEN: usize = 64;
/// How long a worker that ends waits for a server that does not answer.
const FAREWELL: Duration = Duration::from_secs(5);

/// Answers requests until the worker drains, and then those that it has; done when all answers are out.
///
/// # Errors
/// `INVALID_INPUT` for subjects that NATS does not take; a server that is not there is waited for.
pub async fn serve(context: Arc<Context>, address: Address) -> Result<()> {
    let client = address.connect(&context.worker_id).await?;
    let credits = context.credits as usize;
    let door = Arc::new(Door {
        parts: Parts::new(context.limits.max_message_bytes, credits),
        in_flight: InFlight::new(credits * CREDITS),
        part_subject: part_subject(&context.worker_id),
        tasks: TaskTracker::new(),
        context,
        client,
    });
    let new_work = CancellationToken::new();
    let old_work = CancellationToken::new();
    let listening = TaskTracker::new();
    for subject in [cancel_subject(), door.part_subject.clone()] {
        let subscriber = door.client.subscribe(subject).await.map_err(refused)?;
        listening.spawn(listen(door.clone(), subscriber, old_work.clone()));
    }
    let subscriber = door.client.subscribe(HELLO).await.map_err(refused)?;
    listening.spawn(listen(door.clone(), subscriber, new_work.clone()));
    let mut changes = door.context.service.changes();
    let mut models = HashMap::new();
    let listening_to_models = TaskTracker::new();
    loop {
        changes.mark_unchanged();
        follow(
            &door,
            &mut models,
            &address.queue_group,
            &listening_to_models,
        )
        .await?;
        tokio::select! {
            () = door.context.draining.cancelled() => break,
            changed = changes.changed() => if changed.is_err() { break },
        }
    }
    new_work.cancel();
    for stop in models.values() {
        stop.cancel();
    }
    listening_to_models.close();
    door.tasks.close();
    let answered = async {
        // What NATS has given to this worker already gets an answer, even if it is only to go elsewhere.
        if is_connected(&door.client) {
            let _ = timeout(FAREWELL, listening_to_models.wait()).await;
        }
        door.tasks.wait().await;
    };
    tokio::select! {
        () = answered => {}
        () = disconnected(&door.client) => tracing::warn!("NATS is gone: answers are lost with it"),
    }
    old_work.cancel();
    if is_connected(&door.client) {
        let _ = timeout(FAREWELL, door.client.flush()).await;
    }
    // There is nothing to be done about a connection that does not end.
    let _ = door.client.drain().await;
    Ok(())
}

struct Door {
    context: Arc<Context>,
    client: Client,
    in_flight: InFlight,
    parts: Arc<Parts>,
    /// Where the parts of requests to this worker go.
    part_subject: Subject,
    /// Requests, in whole or in parts.
    tasks: TaskTracker,
}

/// Subscribes to the models that became ready, and no more to those that are so no longer.
async fn follow(
    door: &Arc<Door>,
    models: &mut HashMap<String, CancellationToken>,
    queue_group: &str,
    listening: &TaskTracker,
) -> Result<()> {
    let known = door.context.service.models();
    let ready = known.into_iter().filter(|model| model.state == "READY");
    let ready: HashSet<String> = ready.map(|model| model.name).collect();
    models.retain(|name, stop| {
        let is_ready = ready.contains(name);
        if !is_ready {
            stop.cancel();
        }
        is_ready
    });
    for name in ready {
        if models.contains_key(&name) {
            continue;
        }
        let subject = infer_subject(&name);
        let subscribed = door.client.queue_subscribe(subject, queue_group.to_owned());
        let subscriber = subscribed.await.map_err(refused)?;
        let stop = CancellationToken::new();
        listening.spawn(listen(door.clone(), subscriber, stop.clone()));
        models.insert(name, stop);
    }
    Ok(())
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, "NATS", error.to_string())
}

fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// Done when the server was not there for [`FAREWELL`].
async fn disconnected(client: &Client) {
    let mut since = Instant::now();
    while since.elapsed() < FAREWELL {
        tokio::time::sleep(FAREWELL / 10).await;
        if is_connected(client) {
            since = Instant::now();
        }
    }
}

/// Takes what comes until it is told to stop, and then what the server had sent already.
async fn listen(door: Arc<Door>, mut subscriber: Subscriber, stop: CancellationToken) {
    let mut is_stopping = false;
    loop {
        tokio::select! {
            message = subscriber.next() => match message {
                Some(message) => door.receive(message).await,
                None => return,
            },
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                // Without a client there is no message to come.
                if subscriber.drain().await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Door {
    async fn receive(self: &Arc<Door>, message: Message) {
        let arrived = Instant::now();
        let Message {
            subject,
            reply,
            payload,
            ..
        } = message;
        if subject.as_str() == HELLO {
            if let Some(reply) = reply {
                self.publish(&reply, hello(&self.context)).await;
            }
            return;
        }
        let limits = self.context.limits;
        let frame = match cut(payload, limits).await {
            Ok(frame) => frame,
            // What was damaged on its way is sent again by a client that hears nothing.
            Err(error) if error.kind == ErrorKind::InvalidInput => {
                return self.refuse(None, "", &error).await;
            }
            Err(error) => return self.refuse(reply, "", &error).await,
        };
        let said = match FromClient::read(&frame, &limits) {
            Ok(said) => said,
            Err(error) => return self.refuse(reply, "", &error).await,
        };
        let payload = frame.payload;
        match (said, reply) {
            (FromClient::Cancel { id }, _) => {
                self.in_flight.cancel(&id);
            }
            (FromClient::Part { id, index, count }, _) => {
                let part = Part {
                    id: &id,
                    index,
                    count,
                };
                self.parts.take(part, &payload);
            }
            (FromClient::Infer(request), Some(reply)) => {
                if let Err(error) = check_id(&request.id) {
                    return self.refuse(Some(reply), "", &error).await;
                }
                if let Err(error) = check_model(&request.model_name, &subject) {
                    return self.refuse(Some(reply), &request.id, &error).await;
                }
                let id = request.id.clone();
                let asked = Asked::Whole {
                    request,
                    payload,
                    arrived,
                };
                self.begin(&id, asked, reply).await;
            }
            (FromClient::Open { id, size_bytes }, Some(reply)) => {
                if let Err(error) = check_id(&id) {
                    return self.refuse(Some(reply), "", &error).await;
                }
                match self.parts.announce(&id, size_bytes) {
                    Ok(awaited) => {
                        let asked = Asked::InParts { subject, awaited };
                        self.begin(&id, asked, reply).await;
                    }
                    Err(error) => self.refuse(Some(reply), &id, &error).await,
                }
            }
            (_, reply) => {
                let why = "no message for this subject, or one without a reply subject";
                let error = Error::new(ErrorKind::InvalidInput, "message", why);
                self.refuse(reply, "", &error).await;
            }
        }
    }

    async fn refuse(&self, reply: Option<Subject>, id: &str, error: &Error) {
        let counters = &self.context.counters;
        counters.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(reply) = reply {
            self.publish(&reply, failure(id, error)).await;
        }
    }

    async fn publish(&self, subject: &Subject, frame: Bytes) {
        let n_bytes = frame.len();
        if let Err(error) = self.client.publish(subject.clone(), frame).await {
            tracing::warn!(n_bytes, %error, "a message to NATS is lost");
        }
    }
}

/// Who may publish to one model's subject may not ask for another model there.
fn check_model(name: &str, subject: &Subject) -> Result<()> {
    let expected = infer_subject(name);
    if *subject == expected {
        return Ok(());
    }
    let why = format!("\"{name}\" is not the model of this subject");
    Err(Error::new(ErrorKind::InvalidInput, "model_name", why))
}
