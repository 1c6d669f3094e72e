//! A byte stream that knows when it last heard something: a large frame on a slow line is not silence.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// When the last bytes arrived.
#[derive(Clone, Debug)]
pub struct LastHeard {
    start: Instant,
    after_ms: Arc<AtomicU64>,
}

impl LastHeard {
    /// How long ago the last bytes arrived.
    pub fn ago(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.after_ms.load(Ordering::Relaxed)))
    }

    fn now(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.after_ms.store(elapsed, Ordering::Relaxed);
    }
}

/// A stream that notes when bytes arrive.
#[derive(Debug)]
pub struct Heard<S> {
    inner: S,
    last: LastHeard,
}

impl<S> Heard<S> {
    /// Wraps a stream; connecting counts as hearing.
    pub fn new(inner: S) -> (Self, LastHeard) {
        let last = LastHeard { start: Instant::now(), after_ms: Arc::default() };
        (Self { inner, last: last.clone() }, last)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.last.now();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
