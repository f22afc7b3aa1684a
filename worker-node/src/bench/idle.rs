//! Connections that have nothing to say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sentinel_inference::error::{Error, Result};
use tokio::task::JoinSet;
use tokio::time::interval_at;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::websocket::WebsocketConnection;

/// They ping until this is dropped.
pub struct IdleConnections {
    pings: JoinSet<Error>,
}

impl IdleConnections {
    /// # Errors
    /// What opening one of them fails with.
    pub async fn open(
        endpoint: &Arc<Endpoint>,
        n_connections: usize,
        stop: &CancellationToken,
    ) -> Result<IdleConnections> {
        let mut pings = JoinSet::new();
        for at in 0..n_connections {
            if stop.is_cancelled() {
                break;
            }
            let connection = WebsocketConnection::open(endpoint.clone()).await;
            let connection =
                connection.map_err(|error| error.within(format!("idle connection {at}")))?;
            pings.spawn(ping(connection));
        }
        Ok(IdleConnections { pings })
    }

    /// How many have ended.
    pub fn lost(&mut self) -> usize {
        let mut n = 0;
        while self.pings.try_join_next().is_some() {
            n += 1;
        }
        n
    }
}

/// Until the connection ends, which is an error.
async fn ping(mut connection: WebsocketConnection) -> Error {
    let period = Duration::from_millis(connection.hello.heartbeat_ms.max(100));
    let mut ticks = interval_at((Instant::now() + period).into(), period);
    loop {
        let result = tokio::select! {
            _ = ticks.tick() => connection.ping().await,
            reply = connection.receive() => reply.map(drop),
        };
        if let Err(error) = result {
            return error;
        }
    }
}
