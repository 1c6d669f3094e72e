//! Both banks of profiles, in this process's memory: a whole bank is written without a system call.

use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use nexa_abi::layout::{MAX_PEERS, Profile, map};
use nexa_gateway_core::install::Patch;

use super::mapping::Mapping;

const WORDS: usize = size_of::<Profile>() / size_of::<u64>();

/// The word with [`Profile::shared`] in it.
const SHARED: usize = 0;
/// The word with [`Profile::own`] in it.
const OWN: usize = 1;
/// [`Profile::lease_until_ns`].
const LEASE: usize = 2;

/// The PROFILES map.
pub struct Profiles {
    memory: Mapping,
}

impl Profiles {
    /// Maps both banks.
    pub fn map(data: &MapData) -> anyhow::Result<Self> {
        let positions = 2 * MAX_PEERS as usize;
        Ok(Self { memory: Mapping::of(map::PROFILES, data, positions * WORDS)? })
    }

    /// The profile at a position.
    pub fn load(&self, position: u32) -> Profile {
        profile(self.at(position).map(|word| word.load(Ordering::Relaxed)))
    }

    /// Writes a profile of the idle bank, where no program reads. What makes the bank live orders memory.
    pub fn store(&self, position: u32, profile: Profile) {
        for (word, value) in self.at(position).into_iter().zip(words(profile)) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Changes a profile of the live bank. All that the change refers to was written by system calls, which order memory.
    pub fn patch(&self, position: u32, patch: Patch) {
        let before = self.load(position);
        let words = self.at(position);
        match patch {
            Patch::Gone => words[LEASE].store(0, Ordering::Release),
            Patch::Lease(until_ns) => words[LEASE].store(until_ns, Ordering::Release),
            Patch::Shared(shared) => words[SHARED].store(pair(before.peer, shared), Ordering::Release),
            Patch::Own(own) => words[OWN].store(pair(own, before.epoch), Ordering::Release),
        }
    }

    fn at(&self, position: u32) -> [&AtomicU64; WORDS] {
        let first = position as usize * WORDS;
        std::array::from_fn(|word| &self.memory.words()[first + word])
    }
}

fn words(profile: Profile) -> [u64; WORDS] {
    let Profile { peer, shared, own, epoch, lease_until_ns } = profile;
    [pair(peer, shared), pair(own, epoch), lease_until_ns]
}

fn profile([first, second, lease_until_ns]: [u64; WORDS]) -> Profile {
    let ([peer, shared], [own, epoch]) = (halves(first), halves(second));
    Profile { peer, shared, own, epoch, lease_until_ns }
}

/// Two fields as they lie in memory, one after the other.
fn pair(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_s_words_lie_as_its_fields_do() {
        let made = Profile { peer: 1, shared: 2, own: 3, epoch: 4, lease_until_ns: 5 };
        // SAFETY: three words of plain integers without padding.
        let bytes: [u64; WORDS] = unsafe { std::mem::transmute(made) };
        assert_eq!((words(made), profile(bytes)), (bytes, made));
    }
}
