//! What a lab put on the machine, written down before it is made, so that `down` cleans up after a crash.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The content of `state.json`. Unknown members are refused: it must be understood whole to clean up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The folder of the lab that this is of.
    pub folder: PathBuf,
    /// The process of `nexa-lab up`.
    pub supervisor: Option<Recorded>,
    /// Processes that it started, in order.
    pub processes: Vec<Recorded>,
    /// Names of namespaces.
    pub namespaces: Vec<String>,
    /// Mounted file systems.
    pub mounts: Vec<PathBuf>,
    /// Folders outside the lab's own.
    pub folders: Vec<PathBuf>,
    /// Files outside the lab's own folder.
    pub files: Vec<PathBuf>,
}

/// A process, known again by its start time: a process id alone may belong to another by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What it is.
    pub name: String,
    /// Its process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot, as `/proc/<pid>/stat` says.
    pub start_ticks: u64,
    /// The signal that ends it in good order.
    pub signal: i32,
}

/// The state in memory and on disk.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
}

impl Ledger {
    /// Starts an empty ledger in a file, for the lab in `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(path: &Path, folder: &Path) -> Result<Self> {
        let state = State { folder: folder.to_owned(), ..State::default() };
        let ledger = Self { path: Arc::new(path.to_owned()), state: Arc::new(Mutex::new(state)) };
        ledger.change(|_| {})?;
        Ok(ledger)
    }

    /// Notes this process as the one that keeps the lab.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn supervisor(&self, recorded: Recorded) -> Result<()> {
        self.change(|state| state.supervisor = Some(recorded))
    }

    /// Notes a process, instead of an earlier one of the same name.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn process(&self, recorded: Recorded) -> Result<()> {
        self.change(|state| {
            state.processes.retain(|process| process.name != recorded.name);
            state.processes.push(recorded);
        })
    }

    /// Notes a namespace's name.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn namespace(&self, name: &str) -> Result<()> {
        self.change(|state| state.namespaces.push(name.to_owned()))
    }

    /// Notes a mount point.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn mount(&self, path: &Path) -> Result<()> {
        self.change(|state| state.mounts.push(path.to_owned()))
    }

    /// Notes a folder outside the lab's own.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn folder(&self, path: &Path) -> Result<()> {
        self.change(|state| state.folders.push(path.to_owned()))
    }

    /// Notes a file outside the lab's own folder.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn file(&self, path: &Path) -> Result<()> {
        self.change(|state| state.files.push(path.to_owned()))
    }

    /// What is noted now.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        write(&self.path, &*state)
    }
}

/// Reads a ledger's file; nothing when there is none.
///
/// # Errors
/// When it is damaged: what it named can then only be removed by hand.
pub fn read(path: &Path) -> Result<Option<State>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_str(&text).map(Some).with_context(|| {
        format!(
            "{} is damaged: end what the lab left (`ip netns list`, `ps`) by hand and delete the file",
            path.display()
        )
    })
}

/// Writes JSON so that a reader, and a crash, see the old content or the new. Only the owner may read it: it may hold
/// the admin's password.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, content: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(content).context("cannot write JSON")?;
    let new = path.with_extension("new");
    fs::write(&new, text + "\n")
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o600)))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Ledger, Recorded, read};

    fn recorded(name: &str, pid: i32) -> Recorded {
        Recorded { name: name.to_owned(), pid, start_ticks: 7, signal: 15 }
    }

    #[test]
    fn what_is_noted_is_on_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        let ledger = Ledger::new(&path, folder.path()).expect("a ledger");
        ledger.namespace("nx0000-wan").expect("noted");
        ledger.process(recorded("gateway", 11)).expect("noted");
        ledger.process(recorded("gateway", 12)).expect("noted");
        let state = read(&path).expect("readable").expect("there");
        assert_eq!(state, ledger.state());
        assert_eq!(state.processes, [recorded("gateway", 12)], "a process that started again is noted once");
    }

    #[test]
    fn absent_and_damaged_files_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        assert_eq!(read(&path).expect("absent is fine"), None);
        fs::write(&path, "{\"processes\": 3}").expect("written");
        let error = read(&path).expect_err("damaged").to_string();
        assert!(error.contains("delete the file"), "{error}");
    }
}
