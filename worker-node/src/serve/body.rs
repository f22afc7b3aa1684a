//! Bodies of requests: bounded in size, in time and, all together, in memory.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use sentinel_inference::error::{Error, ErrorKind};
use tokio::time::timeout_at;

use super::errors::{Answer, Refusal};
use crate::memory::{Memory, Share};

/// Bodies come at least as fast, after a first pause.
const MIN_BYTES_PER_S: f64 = 16.0 * 1024.0;

/// What all bodies share.
#[derive(Clone)]
pub struct Bodies {
    memory: Memory,
    pause: Duration,
}

/// A body, and its part of the memory for bodies.
pub struct Held {
    pub bytes: Bytes,
    pub memory: Share,
}

impl Bodies {
    /// `pause` is how long a sender may send nothing.
    pub fn new(memory: Memory, pause: Duration) -> Bodies {
        Bodies { memory, pause }
    }

    /// # Errors
    /// `TOO_LARGE`, before anything is read where the length is announced; `TIMEOUT`, with status 408, for a sender that is too
    /// slow; `QUEUE_FULL` where other bodies have all the memory; `INVALID_INPUT` where the body is compressed or ends early.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        limit_bytes: usize,
    ) -> Answer<Held> {
        refuse_encoding(headers)?;
        let announced = announced(headers);
        if announced.is_some_and(|bytes| bytes > limit_bytes as u64) {
            return Err(too_large(limit_bytes));
        }
        let started = Instant::now();
        let mut read = Vec::new();
        let mut memory = Share::default();
        loop {
            let earned = Duration::from_secs_f64(read.len() as f64 / MIN_BYTES_PER_S);
            let until = started + self.pause + earned;
            let frame = timeout_at(until.into(), body.frame()).await;
            let Some(frame) = frame.map_err(|_| too_slow(read.len()))? else {
                break;
            };
            let frame = frame.map_err(|_| ended_early())?;
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            if chunk.len() > limit_bytes - read.len() {
                return Err(too_large(limit_bytes));
            }
            self.memory.grow(&mut memory, read.len() + chunk.len())?;
            if read.is_empty() {
                read.reserve_exact(announced.unwrap_or(0) as usize);
            }
            read.extend_from_slice(&chunk);
        }
        let bytes = read.into();
        Ok(Held { bytes, memory })
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refuse_encoding(headers: &HeaderMap) -> Answer<()> {
    let is_plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Ok(());
    }
    let why = "compressed bodies are not taken, expected none";
    let error = Error::new(ErrorKind::InvalidInput, "Content-Encoding", why);
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
}

fn too_large(limit_bytes: usize) -> Refusal {
    let why = format!("more than the limit of {limit_bytes} bytes");
    Error::new(ErrorKind::TooLarge, "body", why).into()
}

fn too_slow(n_bytes: usize) -> Refusal {
    let why = format!("it came too slowly: {n_bytes} bytes so far");
    let error = Error::new(ErrorKind::Timeout, "body", why);
    Refusal::new(StatusCode::REQUEST_TIMEOUT, error)
}

fn ended_early() -> Refusal {
    Error::new(ErrorKind::InvalidInput, "body", "it ended early").into()
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    async fn status(bodies: &Bodies, headers: &HeaderMap, body: Body) -> StatusCode {
        match bodies.read(headers, body, 1 << 20).await {
            Ok(_) => StatusCode::OK,
            Err(refusal) => refusal.into_response().status(),
        }
    }

    fn announcing(n_bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(n_bytes))])
    }

    /// A body of which no frame comes.
    fn silent() -> Body {
        Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>())
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_before_it_comes() {
        let bodies = Bodies::new(Memory::new(1 << 20), Duration::from_secs(10));
        let refused = status(&bodies, &announcing((1 << 20) + 1), silent()).await;
        assert_eq!(refused, StatusCode::PAYLOAD_TOO_LARGE);
        let long = Body::from(vec![0; (1 << 20) + 1]);
        let refused = status(&bodies, &HeaderMap::new(), long).await;
        assert_eq!(refused, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_sender_that_sends_nothing_is_not_waited_for() {
        let bodies = Bodies::new(Memory::new(1 << 20), Duration::from_millis(1));
        let refused = status(&bodies, &announcing(8), silent()).await;
        assert_eq!(refused, StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn all_bodies_together_have_one_memory() {
        let bodies = Bodies::new(Memory::of(128 << 10), Duration::from_secs(10));
        let headers = HeaderMap::new();
        let first = bodies
            .read(&headers, Body::from(vec![0; (64 << 10) + 1]), 1 << 20)
            .await;
        let refused = status(&bodies, &headers, Body::from("{}")).await;
        assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        let taken = status(&bodies, &headers, Body::from("{}")).await;
        assert_eq!(taken, StatusCode::OK);
    }

    #[tokio::test]
    async fn compressed_bodies_are_refused() {
        let bodies = Bodies::new(Memory::new(1 << 20), Duration::from_secs(10));
        let compressed =
            HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        let refused = status(&bodies, &compressed, Body::from("{}")).await;
        assert_eq!(refused, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
