//! What all doors of the worker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use sentinel_inference::wire::Limits;
use tokio_util::sync::CancellationToken;

use crate::memory::Memory;
use crate::service::Service;

pub struct Context {
    pub service: Arc<Service>,
    pub limits: Limits,
    /// Of requests without an answer.
    pub memory: Memory,
    /// Another one for each process.
    pub worker_id: String,
    /// The most requests without an answer on one connection.
    pub credits: u32,
    pub heartbeat: Duration,
    /// A connection without a request for so long is closed.
    pub idle_timeout: Duration,
    pub allow_upload: bool,
    /// No new work: the process was asked to end.
    pub draining: CancellationToken,
    pub counters: Counters,
}

/// What is counted at the doors, for `/metrics`.
#[derive(Default)]
pub struct Counters {
    /// Open ones.
    pub websockets: AtomicUsize,
    pub requests_http: AtomicU64,
    pub requests_websocket: AtomicU64,
    pub requests_nats: AtomicU64,
    /// Messages and requests that were not what they should be.
    pub refused: AtomicU64,
}
