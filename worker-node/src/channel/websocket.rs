//! `/v2/ws`: frames over a WebSocket.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as SocketError};
use tokio_tungstenite::tungstenite::protocol::frame::Frame as SocketFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::outbox::{Closing, Outgoing, Outlet};
use super::progress::{Progress, Watched};
use super::session::{GOING, NO_FRAME, Session, TOO_LARGE};
use crate::context::Context;

/// An idle connection costs little more than this.
const READ_BUFFER_BYTES: usize = 8 << 10;
/// Messages are written in pieces of this size: no more is copied at a time, and pings go between them.
const PIECE_BYTES: usize = 128 << 10;
/// What is read of a client that is not let in.
const MAX_REFUSED_BYTES: usize = 1 << 10;
/// How long a client that was told the end has to read it.
const FAREWELL: Duration = Duration::from_secs(2);

const IDLE: Closing = Closing {
    code: 1000,
    reason: "no request for a long time",
};
const SILENT: Closing = Closing {
    code: 1008,
    reason: "nothing was heard for two heartbeats",
};
const UNREAD: Closing = Closing {
    code: 1008,
    reason: "the answers are not read",
};

type Sink<S> = SplitSink<WebSocketStream<Watched<S>>, Message>;
type Source<S> = SplitStream<WebSocketStream<Watched<S>>>;

/// Speaks with one client until either side ends it.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(context: Arc<Context>, stream: S) {
    let _open = Open::new(&context);
    let progress = Progress::new();
    let watched = Watched {
        stream,
        progress: progress.clone(),
    };
    let config = config(context.limits.max_message_bytes);
    let socket = WebSocketStream::from_raw_socket(watched, Role::Server, Some(config)).await;
    let (sink, source) = socket.split();
    let (session, outlet) = Session::new(context.clone());
    let mut writer = Writer {
        sink,
        progress: progress.clone(),
        patience: patience(&context),
        heartbeat: context.heartbeat,
    };
    let mut reading = pin!(read(&context, source, session, &progress));
    let mut left = None;
    let ended = {
        let mut writing = pin!(writer.write(outlet));
        loop {
            tokio::select! {
                source = &mut reading, if left.is_none() => match source {
                    Some(source) => left = Some(source),
                    // Whoever is gone hears no farewell.
                    None => return,
                },
                ended = &mut writing => break ended,
            }
        }
    };
    match ended {
        Ended::Closed => {
            let farewell = async {
                let source = match left {
                    Some(source) => Some(source),
                    None => reading.await,
                };
                if let Some(source) = source
                    && let Ok(mut socket) = writer.sink.reunite(source)
                {
                    discard(&mut socket.get_mut().stream).await;
                }
            };
            let _ = timeout(FAREWELL, farewell).await;
        }
        Ended::Stalled => {
            let _ = timeout(FAREWELL, writer.close(UNREAD)).await;
        }
        Ended::Broken => {}
    }
}

/// Tells a client that is not let in why, on a connection of its own.
pub async fn say_farewell<S: AsyncRead + AsyncWrite + Unpin>(stream: S, closing: Closing) {
    let config = config(MAX_REFUSED_BYTES);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let farewell = async {
        if socket.close(Some(close_frame(closing))).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(FAREWELL, farewell).await;
}

fn config(max_message_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * PIECE_BYTES)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes))
}

/// How long a side that neither reads nor writes is taken for alive.
fn patience(context: &Context) -> Duration {
    2 * context.heartbeat
}

/// Hears the client to its end; what it says after a closing of ours is not listened to. Returns what is left to read where
/// the client does not know the end yet.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    context: &Context,
    mut source: Source<S>,
    mut session: Session,
    progress: &Progress,
) -> Option<Source<S>> {
    let closing = hear(context, &mut source, &mut session, progress).await?;
    session.close(closing).await;
    while let Some(Ok(message)) = source.next().await {
        if message.is_close() {
            return None;
        }
    }
    Some(source)
}

/// Why the connection has to be closed; `None` when the client has ended it.
async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    context: &Context,
    source: &mut Source<S>,
    session: &mut Session,
    progress: &Progress,
) -> Option<Closing> {
    let mut changes = context.service.changes();
    changes.mark_unchanged();
    session.hello().await;
    let mut idle_since = Instant::now();
    let mut is_draining = false;
    loop {
        tokio::select! {
            // A message that is there is heard before its sender is called silent.
            biased;
            message = source.next() => match message? {
                Ok(Message::Binary(message)) => {
                    if let Err(closing) = session.receive(message).await {
                        return Some(closing);
                    }
                    idle_since = Instant::now();
                }
                Ok(Message::Text(_)) => {
                    context.counters.refused.fetch_add(1, Ordering::Relaxed);
                    return Some(NO_FRAME);
                }
                Ok(_) => {}
                Err(error) => {
                    let closing = closing_for(&error)?;
                    context.counters.refused.fetch_add(1, Ordering::Relaxed);
                    return Some(closing);
                }
            },
            () = context.draining.cancelled(), if !is_draining => {
                is_draining = true;
                session.tell_draining().await;
            }
            () = session.answered(), if is_draining => return Some(GOING),
            changed = changes.changed(), if !is_draining => {
                changed.ok()?;
                session.tell_models().await;
            }
            () = progress.unread_for(patience(context)) => return Some(SILENT),
            () = sleep_until(idle_since + context.idle_timeout) => {
                if session.is_idle() {
                    return Some(IDLE);
                }
                idle_since = Instant::now();
            }
        }
    }
}

/// What the client is told of an error of its own; `None` where the connection is gone.
fn closing_for(error: &SocketError) -> Option<Closing> {
    match error {
        SocketError::Capacity(CapacityError::MessageTooLong { .. }) => Some(TOO_LARGE),
        SocketError::Capacity(_) | SocketError::Protocol(_) | SocketError::Utf8(_) => {
            Some(NO_FRAME)
        }
        _ => None,
    }
}

enum Ended {
    /// All that had to be written is.
    Closed,
    /// The client takes nothing more.
    Stalled,
    Broken,
}

struct Writer<S> {
    sink: Sink<S>,
    progress: Arc<Progress>,
    patience: Duration,
    heartbeat: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    async fn write(&mut self, mut outlet: Outlet) -> Ended {
        let mut heartbeats = interval_at(Instant::now() + self.heartbeat, self.heartbeat);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let outgoing = tokio::select! {
                outgoing = outlet.next() => outgoing,
                _ = heartbeats.tick() => {
                    if let Err(ended) = self.put(Message::Ping(Bytes::new())).await {
                        return ended;
                    }
                    continue;
                }
            };
            let written = match outgoing {
                None => return Ended::Broken,
                Some(Outgoing::Close(closing)) => {
                    let written = self.close(closing).await;
                    return written.map_or_else(|ended| ended, |()| Ended::Closed);
                }
                Some(Outgoing::Frame(frame)) => self.write_frame(frame).await,
            };
            if let Err(ended) = written {
                return ended;
            }
        }
    }

    async fn write_frame(&mut self, mut frame: Bytes) -> Result<(), Ended> {
        let mut kind = Data::Binary;
        let mut last_ping = Instant::now();
        loop {
            let piece = frame.split_to(frame.len().min(PIECE_BYTES));
            let is_last = frame.is_empty();
            let piece = SocketFrame::message(piece, OpCode::Data(kind), is_last);
            self.put(Message::Frame(piece)).await?;
            if is_last {
                return Ok(());
            }
            kind = Data::Continue;
            if last_ping.elapsed() >= self.heartbeat {
                self.put(Message::Ping(Bytes::new())).await?;
                last_ping = Instant::now();
            }
        }
    }

    async fn close(&mut self, closing: Closing) -> Result<(), Ended> {
        self.put(Message::Close(Some(close_frame(closing)))).await
    }

    /// Done when the message is with the operating system, which takes no more than the client reads.
    async fn put(&mut self, message: Message) -> Result<(), Ended> {
        let written = tokio::select! {
            biased;
            written = self.sink.send(message) => written,
            () = self.progress.unwritten_for(self.patience) => return Err(Ended::Stalled),
        };
        written.map_err(|_| Ended::Broken)
    }
}

fn close_frame(closing: Closing) -> CloseFrame {
    CloseFrame {
        code: closing.code.into(),
        reason: Utf8Bytes::from_static(closing.reason),
    }
}

/// Reads what was on its way, so that the operating system lets the other side read our last words.
async fn discard<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut bytes = [0; 4 << 10];
    while matches!(stream.read(&mut bytes).await, Ok(n_bytes) if n_bytes > 0) {}
}

/// Counts a connection while it is open.
struct Open<'a>(&'a Context);

impl Open<'_> {
    fn new(context: &Context) -> Open<'_> {
        context.counters.websockets.fetch_add(1, Ordering::Relaxed);
        Open(context)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let counters = &self.0.counters;
        counters.websockets.fetch_sub(1, Ordering::Relaxed);
    }
}
