//! What outlives the daemon: maps and links, by their names in a folder of a BPF file system.
//!
//! A link is gone with the last that holds it, and with it the program on the interface. So a daemon holds, beside the pins,
//! what is pinned: should somebody remove the pins, packets are judged on, and what was pinned can be pinned again.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// linux/bpf.h, `enum bpf_cmd`.
mod command {
    pub const OBJ_PIN: i32 = 6;
    pub const OBJ_GET: i32 = 7;
}

/// What is pinned in a folder, held.
pub struct Pins {
    folder: PathBuf,
    held: BTreeMap<&'static str, OwnedFd>,
}

impl Pins {
    /// Holds nothing yet.
    pub const fn in_folder(folder: PathBuf) -> Self {
        Self { folder, held: BTreeMap::new() }
    }

    /// Holds what is pinned under a name, and no longer what was.
    ///
    /// # Errors
    /// When nothing is pinned there.
    pub fn hold(&mut self, name: &'static str) -> anyhow::Result<()> {
        let pin = self.folder.join(name);
        let object = get(&pin).with_context(|| format!("cannot open the pin {}", pin.display()))?;
        self.held.insert(name, object);
        Ok(())
    }

    /// Pins what is held and no longer pinned, and says what that was.
    ///
    /// # Errors
    /// When the folder is on no BPF file system; what is held is held on.
    pub fn restore(&self) -> anyhow::Result<Vec<&'static str>> {
        let mut restored = Vec::new();
        for (name, object) in &self.held {
            let path = self.folder.join(name);
            if path.exists() {
                continue;
            }
            std::fs::create_dir_all(&self.folder)
                .with_context(|| format!("cannot make {}", self.folder.display()))?;
            pin(object.as_fd(), &path)
                .with_context(|| format!("cannot pin {} again; is a bpffs mounted there?", path.display()))?;
            restored.push(*name);
        }
        Ok(restored)
    }
}

/// linux/bpf.h, `bpf_attr` of commands on pins.
#[repr(C)]
struct Object {
    path: u64,
    descriptor: u32,
    flags: u32,
}

fn get(path: &Path) -> io::Result<OwnedFd> {
    let descriptor = bpf(command::OBJ_GET, path, 0)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    bpf(command::OBJ_PIN, path, object.as_raw_fd().unsigned_abs()).map(drop)
}

fn bpf(command: i32, path: &Path, descriptor: u32) -> io::Result<i32> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Object { path: path.as_ptr() as u64, descriptor, flags: 0 };
    // SAFETY: the attributes are of these commands, and the path is a string that lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attributes, size_of::<Object>()) };
    i32::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(io::Error::last_os_error)
}
