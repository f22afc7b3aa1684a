//! How the system asks a process to end.

use std::io;

use tokio_util::sync::CancellationToken;

/// Cancelled when the process is asked to end for the first and for the second time.
pub struct Signals {
    pub first: CancellationToken,
    pub second: CancellationToken,
}

/// # Errors
/// Where the system takes no such wish.
pub fn watch() -> io::Result<Signals> {
    let signals = Signals {
        first: CancellationToken::new(),
        second: CancellationToken::new(),
    };
    let mut wishes = Wishes::new()?;
    let told = [signals.first.clone(), signals.second.clone()];
    tokio::spawn(async move {
        for token in told {
            wishes.next().await;
            token.cancel();
        }
    });
    Ok(signals)
}

#[cfg(unix)]
struct Wishes {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Wishes {
    fn new() -> io::Result<Wishes> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Wishes {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Wishes;

#[cfg(not(unix))]
impl Wishes {
    fn new() -> io::Result<Wishes> {
        Ok(Wishes)
    }

    async fn next(&mut self) {
        // Without the wish there is nothing to wait for, ever.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
