//! A map of entries that come and go by the thousand.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, ensure};
use aya::maps::MapData;

use super::batch::{self, Packed};

/// Why entries are not in a map.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {map}: {source}")]
pub struct NotWritten {
    map: &'static str,
    source: io::Error,
}

impl NotWritten {
    /// Whether there was no room, in the map or in the kernel's memory.
    pub fn is_overflow(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM))
    }
}

/// A hash or a trie, with keys `K` and values `V` as the kernel has them.
pub struct Table<K, V> {
    name: &'static str,
    map: OwnedFd,
    capacity: u32,
    entries: PhantomData<fn() -> (K, V)>,
}

impl<K: aya::Pod, V: aya::Pod> Table<K, V> {
    /// Opens a map once more.
    pub fn open(name: &'static str, data: &MapData) -> anyhow::Result<Self> {
        let info = data.info().with_context(|| format!("cannot look at map {name}"))?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        ensure!(
            sizes == (size_of::<K>(), size_of::<V>()),
            "map {name} has keys and values of {sizes:?} bytes"
        );
        let map = data.fd().as_fd().try_clone_to_owned()?;
        Ok(Self { name, map, capacity: info.max_entries(), entries: PhantomData })
    }

    /// Most entries that it holds.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Writes entries. After an error some are written.
    pub fn insert(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), NotWritten> {
        let (keys, values): (Vec<K>, Vec<V>) = entries.into_iter().unzip();
        batch::update(self.fd(), Packed::of(&keys), Packed::of(&values))
            .map_err(|source| NotWritten { map: self.name, source })
    }

    /// Deletes those of `keys` that there are.
    pub fn remove(&self, keys: impl IntoIterator<Item = K>) -> anyhow::Result<()> {
        let keys: Vec<K> = keys.into_iter().collect();
        batch::delete(self.fd(), Packed::of(&keys))
            .with_context(|| format!("cannot delete from {}", self.name))
    }

    /// All entries. Of a map that changes meanwhile some may be missing or twice.
    pub fn read(&self) -> anyhow::Result<Vec<(K, V)>> {
        // SAFETY: `open` compared the sizes, and map types are plain integers and bytes.
        unsafe { batch::read(self.fd(), self.capacity) }.with_context(|| format!("cannot read {}", self.name))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Sets elements of a per-CPU array to zero, on every CPU.
pub fn zero(name: &'static str, map: &MapData, indexes: &[u32]) -> anyhow::Result<()> {
    if indexes.is_empty() {
        return Ok(());
    }
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    // Each CPU's value begins at a multiple of eight bytes.
    let stride = (map.info()?.value_size() as usize).next_multiple_of(8) * cpus;
    let zeros = vec![0; stride * indexes.len()];
    batch::update(map.fd().as_fd(), Packed::of(indexes), Packed::new(&zeros, stride))
        .map_err(|source| NotWritten { map: name, source })?;
    Ok(())
}
