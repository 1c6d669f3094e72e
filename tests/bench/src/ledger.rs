//! What a bench makes on this machine is noted before it is made, so that the next run removes what a crash has left.

use anyhow::Result;
use nexa_lab::{down, folder::Folder, ledger::Ledger, process};
use nix::{sys::signal::Signal, unistd::getpid};

/// Measures with a ledger in `folder`, and removes before and after what ledgers there name.
///
/// # Errors
/// When something cannot be noted or removed, and those of `measure`.
pub fn with_ledger<T>(
    folder: &Folder,
    say: &mut dyn FnMut(&str),
    measure: impl FnOnce(&Ledger, &mut dyn FnMut(&str)) -> Result<T>,
) -> Result<T> {
    down::clean(folder)?.iter().for_each(|line| say(line));
    folder.make_reachable()?;
    let ledger = Ledger::new(&folder.state(), folder.root())?;
    ledger.supervisor(process::record("nexa-bench", getpid().as_raw(), Signal::SIGTERM)?)?;
    ledger.folder(&folder.reachable())?;
    let outcome = measure(&ledger, say);
    down::clean(folder)?;
    outcome
}
