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
mod www;

use std::sync::Arc;

use axum::extract::FromRef;
use tokio::sync::Semaphore;

use crate::context::Context;

pub use access::{Access, Denied};
pub use life::serve;
pub use options::Options;

/// What requests over HTTP share. Handlers may ask for its parts.
#[derive(Clone)]
pub struct App {
    context: Arc<Context>,
    access: Arc<Access>,
    bodies: body::Bodies,
    connections: Arc<Semaphore>,
    max_connections: usize,
}

impl App {
    fn open_connections(&self) -> usize {
        self.max_connections - self.connections.available_permits()
    }
}

impl FromRef<App> for Arc<Context> {
    fn from_ref(app: &App) -> Arc<Context> {
        app.context.clone()
    }
}

impl FromRef<App> for Arc<Access> {
    fn from_ref(app: &App) -> Arc<Access> {
        app.access.clone()
    }
}
