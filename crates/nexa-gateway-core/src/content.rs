//! What the policy maps hold, and how that differs from what they are meant to hold.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use nexa_abi::layout::{DestKey, PeerKey, PeerValue, PortsKey, PortsValue, Profile, State, map, state};
use nexa_types::Generation;
use nexa_wire::local::{MapDrift, Verified};
use sha2::{Digest as _, Sha256};

/// All entries of the maps that decide; of PROFILES, those of the live bank that are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Content {
    /// STATE: the live generation.
    pub state: State,
    /// STATE: the set of what no resource covers.
    pub excluded: u32,
    /// PEERS.
    pub peers: BTreeMap<PeerKey, PeerValue>,
    /// PROFILES, by position.
    pub profiles: BTreeMap<u32, Profile>,
    /// DEST: bits and key.
    pub dest: BTreeMap<(u32, DestKey), u32>,
    /// PORTS: bits and key.
    pub ports: BTreeMap<(u32, PortsKey), PortsValue>,
}

impl Content {
    /// How `found` differs from this, which is what should be there.
    pub fn compare(&self, found: &Self) -> Verified {
        let state = |content: &Self| {
            BTreeMap::from([(state::LIVE, content.state.0), (state::EXCLUDED, content.excluded.into())])
        };
        Verified {
            generation: Generation(self.state.generation()),
            maps: vec![
                drift(map::STATE, &state(self), &state(found)),
                drift(map::PEERS, &self.peers, &found.peers),
                drift(map::PROFILES, &self.profiles, &found.profiles),
                drift(map::DEST, &self.dest, &found.dest),
                drift(map::PORTS, &self.ports, &found.ports),
            ],
            intended_hash: self.digest(),
            found_hash: found.digest(),
            repaired: None,
        }
    }

    /// SHA-256 over all entries, in hexadecimal. Only contents of one host are comparable: numbers are a gateway's own.
    fn digest(&self) -> String {
        let mut hasher = Bytes(Sha256::new());
        self.hash(&mut hasher);
        hasher.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn drift<K: Ord, V: PartialEq>(map: &str, intended: &BTreeMap<K, V>, found: &BTreeMap<K, V>) -> MapDrift {
    let mut drift = MapDrift { map: map.to_owned(), equal: 0, missing: 0, extra: 0, different: 0 };
    for (key, value) in intended {
        match found.get(key) {
            Some(there) if there == value => drift.equal += 1,
            Some(_) => drift.different += 1,
            None => drift.missing += 1,
        }
    }
    drift.extra = found.len() as u64 - drift.equal - drift.different;
    drift
}

/// Feeds what `Hash` walks over into a hash that nobody can collide.
struct Bytes(Sha256);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is taken from the inside")
    }
}

#[cfg(test)]
mod tests {
    use nexa_abi::layout::Family;

    use super::*;

    fn content() -> Content {
        let key = |last| PeerKey { family: 4, address: [last; 16] };
        Content {
            state: State::new(3),
            peers: (1..=3).map(|n| (key(n), PeerValue { peer: u32::from(n) })).collect(),
            dest: BTreeMap::from([((64, DestKey::new(1, Family::V4, [9; 16])), 5)]),
            ..Content::default()
        }
    }

    /// Missing, extra and different of all maps together.
    fn counts(spoil: impl FnOnce(&mut Content)) -> [u64; 3] {
        let mut found = content();
        spoil(&mut found);
        let verified = content().compare(&found);
        assert_eq!(verified.drift() == 0, verified.intended_hash == verified.found_hash, "{verified:?}");
        verified.maps.iter().fold([0; 3], |[missing, extra, different], map| {
            [missing + map.missing, extra + map.extra, different + map.different]
        })
    }

    #[test]
    fn every_kind_of_drift_is_counted_once() {
        assert_eq!(counts(|_| {}), [0, 0, 0]);
        assert_eq!(counts(|found| found.peers.retain(|_, value| value.peer != 2)), [1, 0, 0]);
        assert_eq!(counts(|found| found.profiles.extend([(1, Profile::default())])), [0, 1, 0]);
        assert_eq!(counts(|found| found.state = State::new(4)), [0, 0, 1]);
        assert_eq!(counts(|found| found.excluded = 4), [0, 0, 1]);
        assert_eq!(counts(|found| *found.dest.values_mut().next().unwrap() = 6), [0, 0, 1]);
    }
}
