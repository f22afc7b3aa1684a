//! The server: from the command line to the last answer.

mod access;
mod activity;
mod body;
mod errors;
mod infer;
mod life;
mod listen;
mod metrics;
mod models;
mod options;
mod routes;
mod signals;
mod stream;
mod tls;
mod unread;
mod www;

use std::sync::Arc;

use sentinel_inference::error::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

use crate::context::Context;

pub use life::serve;
pub use options::Options;

/// What requests over HTTP share.
#[derive(Clone)]
pub struct App {
    context: Arc<Context>,
    access: Arc<access::Access>,
    bodies: body::Bodies,
    connections: Arc<Semaphore>,
    max_connections: usize,
}

impl App {
    fn open_connections(&self) -> usize {
        self.max_connections - self.connections.available_permits()
    }

    /// # Errors
    /// `WORKER_UNAVAILABLE`.
    fn check_draining(&self) -> Result<()> {
        if !self.context.draining.is_cancelled() {
            return Ok(());
        }
        let why = "it takes no more requests: it ends";
        Err(Error::new(ErrorKind::WorkerUnavailable, "worker", why))
    }
}
