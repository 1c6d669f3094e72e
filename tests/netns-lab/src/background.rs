//! Work in a thread of its own that goes on until its outcome is wanted, or nobody is left to want it.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};

use crate::namespace::Namespace;

/// Running work. Dropping it asks it to end and waits.
#[derive(Debug)]
pub struct Background<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Background<T> {
    /// Starts work inside a namespace. It must end soon after the flag is set.
    ///
    /// # Errors
    /// When the namespace's handle cannot be shared.
    pub fn start(
        namespace: &Namespace,
        work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = namespace.spawn(move || work(&stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it and returns its outcome.
    ///
    /// # Errors
    /// Its own.
    pub fn finish(mut self) -> Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it was finished before")?;
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Whether it ended by itself, which only a failure makes it do.
    pub fn has_failed(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
