//! One WebSocket with many requests at a time.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{AUTHORIZATION, HeaderValue};
use sentinel_inference::error::{Error, ErrorKind, Result};
use sentinel_inference::wire::{Frame, FromClient, FromWorker, Hello, InferRequest};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as Fault;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::connection::{ANSWERS, Reply, Served};
use super::endpoint::{Endpoint, Stream};

/// Each connection has a buffer of its own: thousands of them are small.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// A request for each place on a connection, so that ids differ and nothing is written twice.
pub struct WebsocketWork {
    messages: Vec<Bytes>,
}

impl WebsocketWork {
    pub fn new(request: &InferRequest, payload: &[Bytes], n_slots: usize) -> WebsocketWork {
        let messages = (0..n_slots).map(|slot| {
            let request = InferRequest {
                id: slot.to_string(),
                ..request.clone()
            };
            Frame::write(&FromClient::Infer(request), payload)
        });
        WebsocketWork {
            messages: messages.collect(),
        }
    }
}

pub struct WebsocketConnection {
    endpoint: Arc<Endpoint>,
    socket: WebSocketStream<Stream>,
    pub hello: Hello,
}

impl WebsocketConnection {
    /// A connection on which the worker has said hello.
    ///
    /// # Errors
    /// `WORKER_UNAVAILABLE`, `UNAUTHORIZED`, and what the worker says instead of hello.
    pub async fn open(endpoint: Arc<Endpoint>) -> Result<WebsocketConnection> {
        let url = format!("ws://{}/v2/ws", endpoint.authority);
        let mut request = url
            .into_client_request()
            .map_err(|error| endpoint.unavailable(error))?;
        let headers = request.headers_mut();
        headers.insert(
            "sec-websocket-protocol",
            HeaderValue::from_static("sentinel.v1"),
        );
        if let Some(value) = &endpoint.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(ANSWERS.max_message_bytes))
            .max_frame_size(Some(ANSWERS.max_message_bytes));
        let stream = endpoint.connect().await?;
        let opened = client_async_with_config(request, stream, Some(config)).await;
        let (mut socket, _) = opened.map_err(|fault| refused(&endpoint, &fault))?;
        match next(&endpoint, &mut socket).await? {
            (FromWorker::Hello(hello), _) => Ok(WebsocketConnection {
                endpoint,
                socket,
                hello,
            }),
            (FromWorker::Error(failure), _) => {
                let kind = ErrorKind::from_code(&failure.code);
                let kind = kind.unwrap_or(ErrorKind::WorkerUnavailable);
                Err(Error::new(kind, &endpoint.authority, failure.error))
            }
            _ => Err(endpoint.unavailable("it did not say hello")),
        }
    }

    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn send(&mut self, work: &WebsocketWork, slot: usize) -> Result<()> {
        let sent = self
            .socket
            .send(Message::Binary(work.messages[slot].clone()))
            .await;
        sent.map_err(|fault| self.endpoint.unavailable(fault))
    }

    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    pub async fn ping(&mut self) -> Result<()> {
        let message = Frame::write(&FromClient::Ping { id: "ping".into() }, &[]);
        let sent = self.socket.send(Message::Binary(message)).await;
        sent.map_err(|fault| self.endpoint.unavailable(fault))
    }

    /// The next answer; to drop the future loses nothing.
    ///
    /// # Errors
    /// `WORKER_UNAVAILABLE` when the connection ends, `INVALID_INPUT` for what is no message.
    pub async fn receive(&mut self) -> Result<Reply> {
        loop {
            let (id, served) = match next(&self.endpoint, &mut self.socket).await? {
                (FromWorker::Output(response), payload) => {
                    let served = Served::read(&response, payload);
                    (response.id, served)
                }
                (FromWorker::Error(failure), _) if !failure.id.is_empty() => {
                    (failure.id, Err(failure.code))
                }
                (FromWorker::Error(failure), _) => {
                    return Err(self.endpoint.unavailable(failure.error));
                }
                _ => continue,
            };
            let slot = id.parse();
            let slot =
                slot.map_err(|_| self.endpoint.unavailable(format!("an answer to {id:?}")))?;
            return Ok(Reply { slot, served });
        }
    }
}

async fn next(
    endpoint: &Endpoint,
    socket: &mut WebSocketStream<Stream>,
) -> Result<(FromWorker, Bytes)> {
    loop {
        let message = socket.next().await;
        let message = message.ok_or_else(|| endpoint.unavailable("the connection ended"))?;
        match message.map_err(|fault| endpoint.unavailable(fault))? {
            Message::Binary(message) => {
                let frame = Frame::read(message, &ANSWERS)?;
                return Ok((FromWorker::read(&frame, &ANSWERS)?, frame.payload));
            }
            Message::Close(reason) => {
                let reason = reason.map(|reason| format!("{}", reason.code));
                let why = format!("closed with {}", reason.unwrap_or_else(|| "no code".into()));
                return Err(endpoint.unavailable(why));
            }
            _ => {}
        }
    }
}

fn refused(endpoint: &Endpoint, fault: &Fault) -> Error {
    let status = match fault {
        Fault::Http(response) => response.status().as_u16(),
        _ => return endpoint.unavailable(fault),
    };
    let kind = match status {
        401 | 403 => ErrorKind::Unauthorized,
        _ => ErrorKind::WorkerUnavailable,
    };
    let why = format!("the WebSocket is answered with HTTP {status}");
    Error::new(kind, &endpoint.authority, why)
}
