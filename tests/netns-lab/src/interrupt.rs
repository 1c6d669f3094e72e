//! Ctrl-C and SIGTERM: noticed, so that whoever waits stops waiting and the lab is torn down in order.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Notices signals from now on. Processes that are started afterwards have their usual ways again, as a handler does
/// not outlive exec.
///
/// # Errors
/// When the kernel refuses.
pub fn watch() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe at any moment.
        unsafe { sigaction(signal, &action) }.context("cannot watch for signals")?;
    }
    Ok(())
}

/// Whether a signal came.
pub fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails when a signal came.
///
/// # Errors
/// Then.
pub fn check() -> Result<()> {
    if came() { bail!("interrupted") } else { Ok(()) }
}
