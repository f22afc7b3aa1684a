//! When bytes last came and went: a client on a slow line is alive, one that does nothing is not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

pub struct Progress {
    since: Instant,
    /// Milliseconds from `since`.
    read_ms: AtomicU64,
    written_ms: AtomicU64,
}

impl Progress {
    pub fn new() -> Arc<Progress> {
        Arc::new(Progress {
            since: Instant::now(),
            read_ms: AtomicU64::new(0),
            written_ms: AtomicU64::new(0),
        })
    }

    /// Done when nothing was read for so long.
    pub async fn unread_for(&self, patience: Duration) {
        self.quiet_for(&self.read_ms, patience).await;
    }

    /// Done when nothing could be written for so long, from now on.
    pub async fn unwritten_for(&self, patience: Duration) {
        self.mark(&self.written_ms);
        self.quiet_for(&self.written_ms, patience).await;
    }

    async fn quiet_for(&self, last_ms: &AtomicU64, patience: Duration) {
        loop {
            let last = Duration::from_millis(last_ms.load(Ordering::Relaxed));
            let until = self.since + last + patience;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn mark(&self, last_ms: &AtomicU64) {
        let elapsed_ms = self.since.elapsed().as_millis() as u64;
        last_ms.store(elapsed_ms, Ordering::Relaxed);
    }
}

/// A stream that tells of its bytes.
pub struct Watched<S> {
    pub stream: S,
    pub progress: Arc<Progress>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n_before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > n_before {
            self.progress.mark(&self.progress.read_ms);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n_bytes = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.progress.mark(&self.progress.written_ms);
        Poll::Ready(Ok(n_bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
