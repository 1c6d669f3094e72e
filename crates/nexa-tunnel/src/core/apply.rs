use std::net::SocketAddr;

use boringtun::noise::Tunn;
use nexa_types::{Cidr, PublicKey};

use super::Core;
use crate::peer::{Endpoint, Peer};
use crate::{PeerConfig, PrivateKey};

/// What a new set of peers comes to. The scalar multiplications in it are done: applying it takes microseconds
/// per peer and does not hold up the packets of others.
pub(crate) struct Update {
    pub(crate) removed: Vec<PublicKey>,
    pub(crate) changed: Vec<Change>,
    pub(crate) added: Vec<Addition>,
    /// The tunnel's own key from now on; then `changed` has new keys for every peer that stays.
    pub(crate) private_key: Option<PrivateKey>,
    /// Where peers are to be, wherever they have been seen.
    pub(crate) moved: Vec<(PublicKey, SocketAddr)>,
}

/// A peer to take in.
pub(crate) struct Addition {
    pub(crate) peer: Peer,
    pub(crate) allowed_ips: Vec<Cidr>,
}

/// What is new about a peer that is there.
pub(crate) struct Change {
    pub(crate) config: PeerConfig,
    pub(crate) allowed_ips_changed: bool,
    /// Set when the peer is to be somewhere else than it was last told to be.
    pub(crate) endpoint: Option<SocketAddr>,
    /// Set when the preshared key is another.
    pub(crate) keys: Option<Tunn>,
}

impl Core {
    /// Brings the peers to the desired set; those in none of the three lists are not touched.
    pub(crate) fn apply(&mut self, update: Update) {
        if let Some(private) = &update.private_key {
            self.become_known_by(private);
        }
        for key in &update.removed {
            self.peers.remove(key);
        }
        // A prefix may move from one peer to another in the same update: all are given up before any is taken.
        for change in update.changed.iter().filter(|change| change.allowed_ips_changed) {
            if let Some(slot) = self.peers.by_key(&change.config.public_key) {
                self.peers.clear_routes(slot);
            }
        }
        for change in update.changed {
            self.change(change);
        }
        for Addition { peer, allowed_ips } in update.added {
            let greet = peer.wants_keepalive() && peer.endpoint.is_some();
            let slot = self.peers.insert(peer);
            self.peers.set_routes(slot, allowed_ips);
            if greet {
                self.to_initiate.push_back(slot);
            }
        }
        for (key, remote) in update.moved {
            if let Some(peer) = self.peers.by_key(&key).and_then(|slot| self.peers.get_mut(slot)) {
                peer.endpoint = Some(Endpoint::new(remote));
            }
        }
        self.run_timers();
    }

    fn change(&mut self, change: Change) {
        let Some(slot) = self.peers.by_key(&change.config.public_key) else { return };
        if change.allowed_ips_changed {
            self.peers.set_routes(slot, change.config.allowed_ips.clone());
        }
        let now = self.now;
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.set_keepalive(&change.config);
        if let Some(remote) = change.endpoint {
            peer.endpoint = Some(Endpoint::new(remote));
        }
        if let Some(tunn) = change.keys {
            peer.replace_keys(tunn, now);
        }
        if peer.wants_keepalive() && !peer.has_session() {
            self.to_initiate.push_back(slot);
        }
        self.wake(slot);
    }

    /// Puts peers whose place is unknown where they were last seen, and greets them, a few at a time.
    pub(crate) fn restore_endpoints(&mut self, places: Vec<(PublicKey, SocketAddr)>) {
        for (key, remote) in places {
            let Some(slot) = self.peers.by_key(&key) else { continue };
            let Some(peer) = self.peers.get_mut(slot) else { continue };
            if peer.endpoint.is_none() {
                peer.endpoint = Some(Endpoint::new(remote));
            }
            self.to_initiate.push_back(slot);
        }
        self.run_timers();
    }
}
