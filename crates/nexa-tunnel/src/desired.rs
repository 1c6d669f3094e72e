use std::collections::{HashMap, HashSet};
use std::time::Instant;

use nexa_types::PublicKey;

use crate::core::{Addition, Change, Update};
use crate::peer::{OwnKeys, Peer};
use crate::{PeerChanges, PeerConfig};

/// The peers as they were last told to be, and the receiver indexes they were given.
pub(crate) struct Desired {
    peers: HashMap<PublicKey, PeerConfig>,
    indexes: HashMap<PublicKey, u32>,
    taken: HashSet<u32>,
}

/// What becomes of the sessions of peers that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// They go on.
    Keep,
    /// They end: the tunnel's own key is another.
    Renew,
}

impl Desired {
    pub(crate) fn new() -> Self {
        Self { peers: HashMap::new(), indexes: HashMap::new(), taken: HashSet::new() }
    }

    /// What has to happen to come from here to `peers`, which must be a valid set.
    pub(crate) fn update_to(
        &mut self,
        peers: &[PeerConfig],
        keys: &OwnKeys,
        sessions: Sessions,
        now: Instant,
    ) -> (Update, PeerChanges) {
        let wanted: HashSet<_> = peers.iter().map(|peer| peer.public_key).collect();
        let removed = self.peers.keys().filter(|key| !wanted.contains(key)).copied().collect();
        let mut update =
            Update { removed, changed: Vec::new(), added: Vec::new(), private_key: None, moved: Vec::new() };
        for peer in peers {
            let index = self.index_for(peer.public_key);
            match self.peers.get(&peer.public_key) {
                None => {
                    let allowed_ips = peer.allowed_ips.clone();
                    update.added.push(Addition { peer: Peer::new(keys, index, peer, now), allowed_ips });
                }
                Some(before) if before == peer && sessions == Sessions::Keep => {}
                Some(before) => update.changed.push(change(before, peer, index, keys, sessions)),
            }
        }
        let changes = PeerChanges {
            added: update.added.len(),
            changed: update.changed.len(),
            removed: update.removed.len(),
        };
        (update, changes)
    }

    /// Takes note that `peers` are in force.
    pub(crate) fn replace(&mut self, peers: Vec<PeerConfig>) {
        self.peers = peers.into_iter().map(|peer| (peer.public_key, peer)).collect();
        self.indexes.retain(|key, _| self.peers.contains_key(key));
        self.taken = self.indexes.values().copied().collect();
    }

    /// The peers, in no order.
    pub(crate) fn peers(&self) -> Vec<PeerConfig> {
        self.peers.values().cloned().collect()
    }

    /// The indexes that were given to `keys`.
    pub(crate) fn indexes_of(&self, keys: &[PublicKey]) -> Vec<u32> {
        keys.iter().filter_map(|key| self.indexes.get(key).copied()).collect()
    }

    fn index_for(&mut self, key: PublicKey) -> u32 {
        let taken = &mut self.taken;
        *self.indexes.entry(key).or_insert_with(|| {
            loop {
                let index = random_index();
                if taken.insert(index) {
                    return index;
                }
            }
        })
    }
}

/// 24 random bits, so that an index cannot be guessed and data messages with other ones can be dropped unseen.
fn random_index() -> u32 {
    getrandom::u32().expect("the system has a random source") >> 8
}

fn change(before: &PeerConfig, now: &PeerConfig, index: u32, keys: &OwnKeys, sessions: Sessions) -> Change {
    let ends = sessions == Sessions::Renew || before.preshared_key != now.preshared_key;
    Change {
        allowed_ips_changed: before.allowed_ips != now.allowed_ips,
        endpoint: now.endpoint.filter(|endpoint| before.endpoint != Some(*endpoint)),
        keys: ends.then(|| keys.tunn(now, index)),
        config: now.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PrivateKey, Psk};

    fn peer(byte: u8) -> PeerConfig {
        PeerConfig {
            public_key: PublicKey::from_bytes([byte; 32]).unwrap(),
            allowed_ips: vec![format!("10.0.0.{byte}").parse().unwrap()],
            endpoint: None,
            preshared_key: None,
            persistent_keepalive: None,
        }
    }

    fn step(desired: &mut Desired, peers: &[PeerConfig]) -> Update {
        step_with(desired, peers, Sessions::Keep)
    }

    fn step_with(desired: &mut Desired, peers: &[PeerConfig], sessions: Sessions) -> Update {
        let keys = OwnKeys::new(PrivateKey::from_bytes([1; 32]));
        let (update, _) = desired.update_to(peers, &keys, sessions, Instant::now());
        desired.replace(peers.to_vec());
        update
    }

    #[test]
    fn only_what_differs_is_touched() {
        let mut desired = Desired::new();
        let first = step(&mut desired, &[peer(1), peer(2), peer(3)]);
        assert_eq!(first.added.len(), 3);
        let keepalive = PeerConfig { persistent_keepalive: Some(25), ..peer(3) };
        let update = step(&mut desired, &[keepalive, peer(4), peer(1)]);
        assert_eq!(update.removed, [peer(2).public_key]);
        assert_eq!(update.changed.len(), 1);
        assert!(update.changed[0].keys.is_none() && !update.changed[0].allowed_ips_changed);
        assert_eq!(update.added.len(), 1);
    }

    #[test]
    fn only_another_preshared_key_ends_the_session() {
        let mut desired = Desired::new();
        step(&mut desired, &[peer(1)]);
        let with_psk = PeerConfig { preshared_key: Some(Psk::from_bytes([7; 32])), ..peer(1) };
        assert!(step(&mut desired, std::slice::from_ref(&with_psk)).changed[0].keys.is_some());
        let moved = PeerConfig { allowed_ips: Vec::new(), ..with_psk };
        let update = step(&mut desired, &[moved]);
        assert!(update.changed[0].keys.is_none() && update.changed[0].allowed_ips_changed);
    }

    #[test]
    fn another_own_key_ends_all_sessions() {
        let mut desired = Desired::new();
        step(&mut desired, &[peer(1), peer(2)]);
        let update = step_with(&mut desired, &[peer(1), peer(2)], Sessions::Renew);
        assert_eq!(update.changed.iter().filter(|change| change.keys.is_some()).count(), 2);
        assert!(update.changed.iter().all(|change| !change.allowed_ips_changed));
    }

    #[test]
    fn an_endpoint_moves_a_peer_only_when_it_is_a_new_one() {
        let mut desired = Desired::new();
        let at = |text: &str| PeerConfig { endpoint: Some(text.parse().unwrap()), ..peer(1) };
        step(&mut desired, &[at("192.0.2.1:1")]);
        let same = PeerConfig { persistent_keepalive: Some(1), ..at("192.0.2.1:1") };
        assert_eq!(step(&mut desired, &[same]).changed[0].endpoint, None);
        assert_eq!(step(&mut desired, &[at("192.0.2.2:1")]).changed[0].endpoint, "192.0.2.2:1".parse().ok());
        assert_eq!(step(&mut desired, &[peer(1)]).changed[0].endpoint, None);
    }

    #[test]
    fn indexes_are_distinct_and_have_24_bits() {
        let mut desired = Desired::new();
        let peers: Vec<_> = (1..=200).map(peer).collect();
        let update = step(&mut desired, &peers);
        let indexes: HashSet<_> = update.added.iter().map(|added| added.peer.index).collect();
        assert_eq!(indexes.len(), 200);
        assert!(indexes.iter().all(|index| index >> 24 == 0));
    }
}
