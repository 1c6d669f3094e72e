//! The lab's folders: the one it is asked to use, and one that unprivileged servers can reach.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::names::Prefix;

/// Where labs keep what servers without privileges must reach. A checkout may be below a home that only its owner
/// can enter, and a socket's path must be short.
const REACHABLE: &str = "/var/lib/nexa-lab";

/// Paths of one lab.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    prefix: Prefix,
}

impl Folder {
    /// The lab in `root`, which is made when it is not there, as its parent's owner's.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root.join("logs")).with_context(|| format!("cannot make {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("cannot find {}", root.display()))?;
        let prefix = Prefix::of(&root);
        Ok(Self { root, prefix })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The prefix of the lab's names.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// What other programs read to drive the lab.
    pub fn description(&self) -> PathBuf {
        self.root.join("lab.json")
    }

    /// The log of a process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Removes the logs of an earlier lab, but that of `up` itself, which is being written.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn remove_logs(&self) -> Result<()> {
        let logs = fs::read_dir(self.root.join("logs")).context("cannot list the logs")?;
        for log in logs.flatten().filter(|log| log.file_name() != "up.log") {
            drop(fs::remove_file(log.path()));
        }
        Ok(())
    }

    /// The folder that servers without privileges can reach.
    pub fn reachable(&self) -> PathBuf {
        Path::new(REACHABLE).join(self.prefix.as_str().trim_end_matches('-'))
    }

    /// What the lab put on the machine. It is outside the checkout, so that it outlives a deleted `target/`.
    pub fn state(&self) -> PathBuf {
        self.reachable().join("state.json")
    }

    /// Makes a folder below the lab's, empty, for its owner only.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("cannot empty {}", path.display()))?;
        }
        fs::create_dir_all(&path)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Makes the reachable folder, with a link to the state in the lab's own.
    ///
    /// # Errors
    /// When it cannot be made, or is not root's.
    pub fn make_reachable(&self) -> Result<()> {
        let folder = self.reachable();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for path in [Path::new(REACHABLE), &folder] {
            if fs::symlink_metadata(path).with_context(|| path.display().to_string())?.uid() != 0 {
                bail!("{} is not root's: remove it", path.display());
            }
            fs::set_permissions(path, Permissions::from_mode(0o755))
                .with_context(|| format!("cannot open up {}", path.display()))?;
        }
        let link = self.root.join("state.json");
        drop(fs::remove_file(&link));
        symlink(self.state(), &link).with_context(|| format!("cannot make {}", link.display()))
    }

    /// Removes what [`Self::make_reachable`] made.
    pub fn remove_reachable(&self) {
        drop(fs::remove_dir_all(self.reachable()));
        drop(fs::remove_file(self.root.join("state.json")));
    }

    /// Takes the lab's lock, which one `up` or `down` holds; nothing while another does.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok().map(Lock))
    }

    /// Gives what root made here to the owner of the folder around, so that `cargo clean` works without root.
    ///
    /// # Errors
    /// When the owner cannot be read.
    pub fn give_back(&self) -> Result<()> {
        let around = self.root.parent().unwrap_or(&self.root);
        let owner = fs::metadata(around).with_context(|| format!("cannot read {}", around.display()))?;
        if owner.uid() != 0 {
            give(&self.root, owner.uid(), owner.gid());
        }
        Ok(())
    }
}

/// The lab's lock, held as long as this value.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "unlocks when dropped")] Flock<File>);

/// Gives a tree away; what cannot be is left.
fn give(path: &Path, owner: u32, group: u32) {
    drop(lchown(path, Some(owner), Some(group)));
    if fs::symlink_metadata(path).is_ok_and(|data| data.is_dir()) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            give(&entry.path(), owner, group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Folder;

    #[test]
    fn a_lab_is_locked_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let lab = Folder::open(folder.path()).expect("opened");
        let lock = lab.try_lock().expect("asked").expect("free");
        assert!(lab.try_lock().expect("asked").is_none(), "held by the first");
        drop(lock);
        assert!(lab.try_lock().expect("asked").is_some());
    }

    #[test]
    fn socket_paths_stay_below_the_kernels_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a-rather-long-name/".repeat(8));
        let lab = Folder::open(&deep).expect("opened");
        let socket = lab.reachable().join("postgres/.s.PGSQL.5432");
        assert!(socket.as_os_str().len() < 108, "{}", socket.display());
    }

    #[test]
    fn fresh_folders_are_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let lab = Folder::open(folder.path()).expect("opened");
        let first = lab.fresh("clients").expect("made");
        std::fs::write(first.join("key"), "x").expect("written");
        let second = lab.fresh("clients").expect("made again");
        assert_eq!(std::fs::read_dir(second).expect("listed").count(), 0);
    }
}
