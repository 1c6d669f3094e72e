//! A map of prefixes, of which those that are whole keys are kept apart.
//!
//! Most of a policy's entries are single hosts and single ports. A hash finds one in a third of the time that a trie
//! takes, and without them the trie is less deep for the rest. Programs ask the hash first: a whole key is the longest
//! prefix there can be. So it does not matter where a whole key is, and what finds no room in the hash goes into the trie.

use std::collections::HashSet;
use std::hash::Hash;

use aya::maps::MapData;
use aya::maps::lpm_trie::Key;
use nexa_abi::layout::{DestKey, Family, PortsKey};

use super::table::{NotWritten, Table};

/// A key of which a prefix may be all.
pub trait Prefixed: aya::Pod + Eq + Hash {
    /// Bits of a prefix that leaves nothing of the key open.
    fn whole_bits(&self) -> u32;

    /// Whether a prefix of `bits` leaves nothing of the key open.
    fn is_whole(&self, bits: u32) -> bool {
        bits == self.whole_bits()
    }
}

impl Prefixed for DestKey {
    fn whole_bits(&self) -> u32 {
        Self::FIXED_BITS + if self.family() == Family::V6 { 128 } else { 32 }
    }
}

impl Prefixed for PortsKey {
    fn whole_bits(&self) -> u32 {
        Self::BITS
    }
}

/// A prefix and its value: bits, key, value.
pub type Entry<K, V> = ((u32, K), V);

/// A trie and the hash beside it. One value writes, others may read.
pub struct Prefixes<K, V> {
    whole: Table<K, V>,
    trie: Table<Key<K>, V>,
    /// Keys that the hash holds, as far as this value has written or read them.
    hashed: HashSet<K>,
}

impl<K: Prefixed, V: aya::Pod> Prefixes<K, V> {
    /// Opens both once more.
    ///
    /// # Errors
    /// When the kernel refuses, or keys or values have other sizes.
    pub fn open(whole: (&'static str, &MapData), trie: (&'static str, &MapData)) -> anyhow::Result<Self> {
        let (whole, trie) = (Table::open(whole.0, whole.1)?, Table::open(trie.0, trie.1)?);
        Ok(Self { whole, trie, hashed: HashSet::new() })
    }

    /// Entries that there is always room for, whatever they are.
    pub const fn capacity(&self) -> u32 {
        self.trie.capacity()
    }

    /// Writes entries. After an error some are written.
    pub fn insert(&mut self, entries: impl IntoIterator<Item = Entry<K, V>>) -> Result<(), NotWritten> {
        let hashed = &mut self.hashed;
        let (mut whole, mut prefixes) = (Vec::new(), Vec::new());
        for ((bits, key), value) in entries {
            let fits = hashed.contains(&key) || hashed.len() < self.whole.capacity() as usize;
            if key.is_whole(bits) && fits {
                hashed.insert(key);
                whole.push((key, value));
            } else {
                prefixes.push((Key::new(bits, key), value));
            }
        }
        self.whole.insert(whole)?;
        self.trie.insert(prefixes)
    }

    /// Deletes those of `prefixes` that there are.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self, prefixes: impl IntoIterator<Item = (u32, K)>) -> anyhow::Result<()> {
        let hashed = &mut self.hashed;
        let (whole, prefixes): (Vec<_>, Vec<_>) =
            prefixes.into_iter().partition(|(bits, key)| key.is_whole(*bits) && hashed.contains(key));
        self.whole.remove(whole.iter().map(|(_, key)| *key))?;
        for (_, key) in &whole {
            hashed.remove(key);
        }
        self.trie.remove(prefixes.into_iter().map(|(bits, key)| Key::new(bits, key)))
    }

    /// All entries. Of maps that change meanwhile some may be missing or twice.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(&self) -> anyhow::Result<Vec<Entry<K, V>>> {
        let whole = self.whole.read()?.into_iter().map(|(key, value)| ((key.whole_bits(), key), value));
        let trie = self.trie.read()?.into_iter().map(|(key, value)| ((key.prefix_len(), key.data()), value));
        Ok(whole.chain(trie).collect())
    }

    /// All entries, in maps that this value did not write.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn find(&mut self) -> anyhow::Result<Vec<Entry<K, V>>> {
        self.hashed = self.whole.read()?.into_iter().map(|(key, _)| key).collect();
        self.read()
    }
}
