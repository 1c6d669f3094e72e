//! An array map in this process's memory.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use aya::maps::MapData;

/// What an array map of BPF_F_MMAPABLE holds, as words. Programs see a store at once and whole.
pub struct Mapping {
    first: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to the value alone and is only touched atomically.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `words` words. `name` is for who reads an error.
    pub fn of(name: &str, data: &MapData, words: usize) -> anyhow::Result<Self> {
        // SAFETY: a fresh mapping of a file descriptor that lives through the call; the kernel rounds the length up
        // to a page and checks that the map is as large and allows it.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                words * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("cannot map the {name} map into memory"));
        }
        let first =
            NonNull::new(address.cast()).with_context(|| format!("{name} was mapped at address 0"))?;
        Ok(Self { first, words })
    }

    /// The words.
    pub const fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, holds as many words and lives as long as the value.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length, and nobody else holds the address.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}
