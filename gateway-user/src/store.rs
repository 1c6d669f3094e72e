//! The last good snapshot on disk, so that a gateway restarts and serves without the control plane.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nexa_types::Revision;
use nexa_wire::snapshot::{Sealed, Snapshot};
use serde::{Deserialize, Serialize};

use crate::files;

const SNAPSHOT: &str = "snapshot.json";
const CONFIRMED: &str = "confirmed.json";

/// The folder's snapshot file and when the control plane last confirmed it.
#[derive(Clone, Debug)]
pub struct Store {
    snapshot: PathBuf,
    confirmed: PathBuf,
}

/// What the disk holds.
#[derive(Debug)]
pub enum Stored {
    /// No snapshot was ever stored here.
    Nothing,
    /// The last good snapshot, its seal checked.
    Good(Box<LastGood>),
    /// A file that must not be used, and why, in words for an operator.
    Damaged(String),
}

/// A snapshot that was in force.
#[derive(Clone, Debug)]
pub struct LastGood {
    /// As it was sent.
    pub sealed: Sealed,
    /// Its content.
    pub snapshot: Snapshot,
    /// When the control plane last confirmed that it is current, seconds since 1970; 0 if that is not known.
    pub confirmed_unix: u64,
}

#[derive(Serialize, Deserialize)]
struct Confirmation {
    revision: Revision,
    hash: String,
    unix: u64,
}

impl Store {
    /// Uses `state_dir`, which exists.
    pub fn new(state_dir: &Path) -> Self {
        Self { snapshot: state_dir.join(SNAPSHOT), confirmed: state_dir.join(CONFIRMED) }
    }

    /// Reads and verifies what is stored.
    pub fn load(&self) -> Stored {
        let path = self.snapshot.display();
        let text = match fs::read_to_string(&self.snapshot) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Stored::Nothing,
            Err(error) => return Stored::Damaged(format!("{path}: {error}")),
        };
        let sealed: Sealed = match serde_json::from_str(&text) {
            Ok(sealed) => sealed,
            Err(error) => return Stored::Damaged(format!("{path}: {error}")),
        };
        match sealed.open() {
            Ok(snapshot) => {
                let confirmed_unix = self.read_confirmation(&sealed);
                Stored::Good(Box::new(LastGood { sealed, snapshot, confirmed_unix }))
            }
            Err(error) => Stored::Damaged(format!("{path}: {error}")),
        }
    }

    /// Replaces the stored snapshot; it survives a crash from the moment that this returns.
    ///
    /// # Errors
    /// When the folder cannot be written; the earlier snapshot is then still there.
    pub fn save(&self, sealed: &Sealed) -> io::Result<()> {
        files::write_atomic(&self.snapshot, &serde_json::to_vec(sealed)?)?;
        self.confirm(sealed.revision, &sealed.hash)
    }

    /// Notes that the control plane just confirmed a stored snapshot.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn confirm(&self, revision: Revision, hash: &str) -> io::Result<()> {
        let note = Confirmation { revision, hash: hash.to_owned(), unix: now_unix() };
        files::write_atomic(&self.confirmed, &serde_json::to_vec(&note)?)
    }

    /// 0 unless the note speaks of exactly this snapshot: an age that is too high alarms, one too low hides.
    fn read_confirmation(&self, sealed: &Sealed) -> u64 {
        let note = fs::read(&self.confirmed)
            .ok()
            .and_then(|text| serde_json::from_slice::<Confirmation>(&text).ok());
        note.filter(|note| note.revision == sealed.revision && note.hash == sealed.hash)
            .map_or(0, |note| note.unix)
    }
}

/// The wall clock, seconds since 1970.
pub fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        (folder, store)
    }

    #[test]
    fn an_empty_folder_holds_nothing() {
        assert!(matches!(store().1.load(), Stored::Nothing));
    }

    #[test]
    fn what_was_saved_is_read_back_with_its_confirmation() {
        let (_folder, store) = store();
        let sealed = fixture::sealed(7);
        store.save(&sealed).unwrap();
        let Stored::Good(good) = store.load() else { panic!("{:?}", store.load()) };
        assert_eq!((good.sealed.revision, good.snapshot), (Revision(7), sealed.open().unwrap()));
        assert!(now_unix() - good.confirmed_unix < 60);
    }

    #[test]
    fn a_confirmation_of_another_snapshot_counts_for_nothing() {
        let (_folder, store) = store();
        store.save(&fixture::sealed(7)).unwrap();
        store.confirm(Revision(8), "another").unwrap();
        assert!(matches!(store.load(), Stored::Good(good) if good.confirmed_unix == 0));
    }

    #[test]
    fn every_damage_is_refused() {
        let (folder, store) = store();
        store.save(&fixture::sealed(7)).unwrap();
        let path = folder.path().join(SNAPSHOT);
        let text = fs::read_to_string(&path).unwrap();
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            fs::write(&path, &text[..cut]).unwrap();
            assert!(matches!(store.load(), Stored::Damaged(_)), "cut at {cut}");
        }
        let edited = text.replacen("10.20.0.0/24", "10.20.0.0/16", 1);
        assert_ne!(edited, text, "the fixture names this prefix");
        for bad in [edited, text.replace("\"revision\":7", "\"revision\":8"), "\u{0}".repeat(text.len())] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(store.load(), Stored::Damaged(_)));
        }
    }
}
