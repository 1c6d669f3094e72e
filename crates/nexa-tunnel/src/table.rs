use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::net::IpAddr;

use nexa_types::{Cidr, PublicKey};

use crate::lpm::{Fold, Lpm};
use crate::peer::Peer;

/// The peers, found by public key, receiver index or address. A slot number stays a peer's until it is removed.
pub(crate) struct PeerTable {
    slots: Vec<Option<Box<Peer>>>,
    free: Vec<usize>,
    by_key: HashMap<PublicKey, usize>,
    by_index: HashMap<u32, usize, BuildHasherDefault<Fold>>,
    routes: Lpm<usize>,
}

impl PeerTable {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_index: HashMap::default(),
            routes: Lpm::new(),
        }
    }

    /// The slot of a public key.
    pub(crate) fn by_key(&self, key: &PublicKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// The slot that a receiver index of 32 bits belongs to.
    pub(crate) fn by_receiver(&self, receiver: u32) -> Option<usize> {
        self.by_index.get(&(receiver >> 8)).copied()
    }

    /// The slot whose allowed IPs hold `address` by longest match over all peers.
    pub(crate) fn by_address(&self, address: IpAddr) -> Option<usize> {
        self.routes.longest(address)
    }

    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Peer> {
        self.slots.get_mut(slot)?.as_deref_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().filter_map(|slot| slot.as_deref())
    }

    /// Takes a peer in, without its routes: these are set when all peers that give theirs up have done so.
    pub(crate) fn insert(&mut self, peer: Peer) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_key.insert(peer.key, slot);
        self.by_index.insert(peer.index, slot);
        self.slots[slot] = Some(Box::new(peer));
        slot
    }

    pub(crate) fn remove(&mut self, key: &PublicKey) {
        let Some(slot) = self.by_key.remove(key) else { return };
        self.clear_routes(slot);
        if let Some(peer) = self.slots[slot].take() {
            self.by_index.remove(&peer.index);
        }
        self.free.push(slot);
    }

    /// Gives up all routes of a slot.
    pub(crate) fn clear_routes(&mut self, slot: usize) {
        let Some(peer) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        for cidr in std::mem::take(&mut peer.allowed_ips) {
            self.routes.remove(cidr);
        }
    }

    /// Gives routes to a slot that has none.
    pub(crate) fn set_routes(&mut self, slot: usize, allowed_ips: Vec<Cidr>) {
        let Some(peer) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        for &cidr in &allowed_ips {
            self.routes.insert(cidr, slot);
        }
        peer.allowed_ips = allowed_ips;
    }
}
