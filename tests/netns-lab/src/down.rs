//! Removes what a lab left on the machine: only what was written down, and processes only while they are the same.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, umount2};

use crate::{
    folder::{Folder, Lock},
    ledger::{self, State},
    namespace, process, wait,
};

/// How long a lab may take to tear itself down.
const TEAR_DOWN: Duration = Duration::from_secs(30);

/// How long a process of a crashed lab may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends the lab that runs in a folder, if any, and returns the folder's lock and whether there was one.
///
/// # Errors
/// When it does not end.
pub fn take_over(folder: &Folder) -> Result<(Lock, bool)> {
    if let Some(lock) = folder.try_lock()? {
        return Ok((lock, false));
    }
    if let Some(supervisor) = ledger::read(&folder.state())?.and_then(|state| state.supervisor) {
        process::end_recorded(&supervisor, TEAR_DOWN)?;
    }
    let (lock, _) =
        wait::until("another `nexa-lab` keeps the folder locked", TEAR_DOWN, || folder.try_lock())?;
    Ok((lock, true))
}

/// Removes what the state of a folder's lab names, and the state. Says what there was.
///
/// # Errors
/// When the state is damaged or another lab's, or something cannot be removed.
pub fn clean(folder: &Folder) -> Result<Vec<String>> {
    drop(fs::remove_file(folder.description()));
    let Some(state) = ledger::read(&folder.state())? else {
        return Ok(Vec::new());
    };
    let foreign = state.folder != folder.root();
    if foreign && state.supervisor.as_ref().is_some_and(process::is_running) {
        bail!(
            "the lab in {} happens to have the same names as this one would: end it first, or use another folder",
            state.folder.display()
        );
    }
    let said = remove(&state)?;
    folder.remove_reachable();
    Ok(said)
}

fn remove(state: &State) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for process in state.processes.iter().rev() {
        if process::end_recorded(process, PATIENCE)? {
            said.push(format!("ended {} of an earlier lab", process.name));
        }
    }
    for mount in state.mounts.iter().filter(|mount| mount.exists()) {
        // Not mounted, when the lab crashed before it was.
        let _ = umount2(mount, MntFlags::MNT_DETACH);
    }
    for name in state.namespaces.iter().filter(|name| namespace::exists(name)) {
        namespace::remove(name)?;
        said.push(format!("removed namespace {name} of an earlier lab"));
    }
    for file in &state.files {
        drop(fs::remove_file(file));
    }
    for path in state.folders.iter().filter(|path| path.exists()) {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(said)
}
