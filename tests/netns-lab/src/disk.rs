//! A small file system in memory, which can be full and have room again without a byte being written.

use std::{fs, path::Path, path::PathBuf};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statvfs::statvfs,
};

use crate::ledger::Ledger;

/// How much it may hold, bytes; memory is used only for what is there.
const ROOM_BYTES: u64 = 8 << 30;

/// A mounted file system; gone when this value goes.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts an empty one on a folder, which is made. Who runs what is on it owns its root.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mount(path: &Path, owner: (u32, u32), ledger: &Ledger) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        ledger.mount(path)?;
        let (user, group) = owner;
        let options = format!("size={ROOM_BYTES},mode=0700,uid={user},gid={group}");
        mount(Some("nexa-lab"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot mount a file system on {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Leaves no room beyond what is used now.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fill(&self) -> Result<()> {
        let now = statvfs(&self.path).with_context(|| format!("cannot look at {}", self.path.display()))?;
        self.resize((now.blocks() - now.blocks_free()) * now.fragment_size())
    }

    /// Gives room again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn free(&self) -> Result<()> {
        self.resize(ROOM_BYTES)
    }

    fn resize(&self, bytes: u64) -> Result<()> {
        // 0 would mean "no limit".
        let options = format!("size={}", bytes.max(4096));
        mount(None::<&str>, &self.path, None::<&str>, MsFlags::MS_REMOUNT, Some(options.as_str()))
            .with_context(|| format!("cannot resize {}", self.path.display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Detached: a process that is being killed may still have a file open.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
