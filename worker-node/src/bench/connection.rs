//! A connection to a worker, of either kind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sentinel_inference::error::Result;
use sentinel_inference::wire::{InferRequest, InferResponse, Limits};

use super::endpoint::{Endpoint, MAX_ANSWER_BYTES};
use super::http::{HttpConnection, HttpWork};
use super::websocket::{WebsocketConnection, WebsocketWork};

/// What an answer may hold.
pub const ANSWERS: Limits = Limits {
    max_message_bytes: MAX_ANSWER_BYTES,
    max_header_bytes: 16 << 20,
    max_tensors: 4096,
    max_rank: 64,
    max_elements: 1 << 30,
};

/// What is sent again and again.
pub enum Work {
    Websocket(WebsocketWork),
    Http(Box<HttpWork>),
}

/// The answer to the request of one place on its connection: what the worker says of it, or the code of its error.
pub struct Reply {
    pub slot: usize,
    pub served: Result<Served, String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Served {
    pub queued: Option<Duration>,
    pub computed: Option<Duration>,
    pub batch_size: Option<f64>,
}

impl Served {
    /// # Errors
    /// The code of what is wrong with its tensors.
    pub fn read(response: &InferResponse, payload: Bytes) -> Result<Served, String> {
        let tensors = response.tensors(payload, &ANSWERS);
        tensors.map_err(|error| error.kind.code().to_owned())?;
        let number = |name| {
            response
                .parameters
                .get(name)
                .and_then(|value| value.as_f64())
        };
        let ms = |name| number(name).and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        Ok(Served {
            queued: ms("queue_ms"),
            computed: ms("compute_ms"),
            batch_size: number("batch_size"),
        })
    }
}

pub enum Connection {
    Websocket(Box<WebsocketConnection>),
    Http(HttpConnection),
}

impl Work {
    /// # Errors
    /// `INVALID_INPUT` for a model that no URL names.
    pub fn new(
        endpoint: &Endpoint,
        is_http: bool,
        request: &InferRequest,
        payload: &[Bytes],
        n_slots: usize,
    ) -> Result<Work> {
        Ok(match is_http {
            true => Work::Http(Box::new(HttpWork::new(endpoint, request, payload)?)),
            false => Work::Websocket(WebsocketWork::new(request, payload, n_slots)),
        })
    }

    /// # Errors
    /// `WORKER_UNAVAILABLE`, and what the worker refuses it with.
    pub async fn connect(&self, endpoint: Arc<Endpoint>) -> Result<Connection> {
        Ok(match self {
            Work::Websocket(_) => {
                Connection::Websocket(Box::new(WebsocketConnection::open(endpoint).await?))
            }
            Work::Http(_) => Connection::Http(HttpConnection::open(endpoint).await?),
        })
    }
}

impl Connection {
    /// Sends the request of a place that waits for no answer.
    ///
    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn send(&mut self, work: &Work, slot: usize) -> Result<()> {
        match (self, work) {
            (Connection::Websocket(connection), Work::Websocket(work)) => {
                connection.send(work, slot).await
            }
            (Connection::Http(connection), Work::Http(work)) => connection.send(work).await,
            _ => unreachable!("connections are made by their work"),
        }
    }

    /// The next answer; to drop the future loses nothing.
    ///
    /// # Errors
    /// `WORKER_UNAVAILABLE`, or what an answer is not.
    pub async fn receive(&mut self) -> Result<Reply> {
        match self {
            Connection::Websocket(connection) => connection.receive().await,
            Connection::Http(connection) => connection.receive().await,
        }
    }

    /// Shows the worker that this side lives, where the protocol has a way to.
    ///
    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn ping(&mut self) -> Result<()> {
        match self {
            Connection::Websocket(connection) => connection.ping().await,
            Connection::Http(_) => Ok(()),
        }
    }

    /// How often [`Connection::ping`] is due.
    pub fn heartbeat(&self) -> Duration {
        match self {
            Connection::Websocket(connection) => {
                Duration::from_millis(connection.hello.heartbeat_ms.max(100))
            }
            Connection::Http(_) => Duration::from_secs(3600),
        }
    }
}
