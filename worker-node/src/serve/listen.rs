//! Connections: accepted, counted, watched and ended.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Version;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::activity::{Activity, Patience};
use super::routes;
use super::stream::Stream;
use super::unread::Unread;

/// Connections beyond the limit that are told so at the same time; more are closed without a word.
const MAX_CROWD: usize = 64;
/// After an accept that failed, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For the first request on a connection that was opened when the worker began to end.
const LEFT_OVER: Duration = Duration::from_secs(1);
/// One client's HTTP/2 requests without an answer.
const MAX_STREAMS: u32 = 128;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// What listens, for all connections.
pub struct Listening {
    pub tls: Option<TlsAcceptor>,
    pub patience: Patience,
    pub max_header_bytes: usize,
    pub connections: Arc<Semaphore>,
    /// What answers, as soon as the models are there.
    pub ready: OnceLock<Router>,
    pub starting: Router,
    pub draining: CancellationToken,
}

/// Accepts until it is dropped.
pub async fn accept(listener: TcpListener, listening: Arc<Listening>) -> Infallible {
    let crowd = Arc::new(Semaphore::new(MAX_CROWD));
    let crowd_router = routes::crowded();
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (permit, instead) = match listening.connections.clone().try_acquire_owned() {
            Ok(permit) => (permit, None),
            Err(_) => match crowd.clone().try_acquire_owned() {
                Ok(permit) => (permit, Some(crowd_router.clone())),
                Err(_) => continue,
            },
        };
        let listening = listening.clone();
        tokio::spawn(async move {
            if let Err(error) = connection(socket, permit, &listening, instead).await {
                debug!(%error, "a connection ended");
            }
        });
    }
}

async fn connection(
    socket: TcpStream,
    permit: OwnedSemaphorePermit,
    listening: &Arc<Listening>,
    instead: Option<Router>,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let activity = Arc::new(Activity::new(Instant::now()));
    let stream = Stream::new(socket, activity.clone(), permit);
    let Some(tls) = &listening.tls else {
        return drive(stream, false, activity, listening, instead).await;
    };
    let stream = timeout(listening.patience.head, tls.accept(stream)).await??;
    activity.forget_heard();
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    drive(stream, is_http2, activity, listening, instead).await
}

async fn drive(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_http2: bool,
    activity: Arc<Activity>,
    listening: &Arc<Listening>,
    instead: Option<Router>,
) -> io::Result<()> {
    let mut is_told = listening.draining.is_cancelled();
    let stays = instead.is_none() && !is_told;
    let builder = builder(is_http2, stays, listening);
    let service = service_fn(|request: Request<Incoming>| {
        let router = instead.as_ref().or(listening.ready.get());
        let router = router.unwrap_or(&listening.starting).clone();
        answer(router, request, activity.clone())
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    loop {
        let pause = if is_told {
            LEFT_OVER
        } else {
            listening.patience.head
        };
        tokio::select! {
            done = connection.as_mut() => return done.map_err(io::Error::other),
            () = listening.draining.cancelled(), if !is_told => {
                is_told = true;
                // A first request may be on its way, and would find the door shut.
                if !activity.is_fresh() {
                    connection.as_mut().graceful_shutdown();
                }
            }
            () = sleep(pause) => {
                // Frames of HTTP/2 come without requests, too.
                if is_http2 {
                    activity.forget_heard();
                }
                if is_told {
                    connection.as_mut().graceful_shutdown();
                }
                if activity.is_over(Instant::now(), &listening.patience) {
                    return Ok(());
                }
            }
        }
    }
}

fn builder(is_http2: bool, stays: bool, listening: &Listening) -> Builder<TokioExecutor> {
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        .keep_alive(stays)
        .header_read_timeout(None)
        .max_buf_size(listening.max_header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(4 * STREAM_WINDOW_BYTES)
        .max_header_list_size(listening.max_header_bytes as u32)
        .keep_alive_interval(listening.patience.stalled)
        .keep_alive_timeout(listening.patience.stalled);
    builder
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    activity: Arc<Activity>,
) -> Result<Response, Infallible> {
    let _in_flight = activity.request();
    let request = match request.version() {
        Version::HTTP_2 => request.map(|body| Body::new(Unread::new(body))),
        _ => request.map(Body::new),
    };
    router.oneshot(request).await
}
