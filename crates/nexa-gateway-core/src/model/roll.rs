//! Who has which address and which key.

use std::collections::HashMap;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use nexa_types::{DeviceId, PublicKey};
use nexa_wire::snapshot::Peer;

/// What of a device the policy does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// One of each family.
    pub addresses: [IpAddr; 2],
    /// Its WireGuard key.
    pub public_key: PublicKey,
    /// When it stops being served.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Devices that may connect.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    entries: HashMap<DeviceId, Entry>,
    addresses: HashMap<IpAddr, DeviceId>,
    keys: HashMap<PublicKey, DeviceId>,
}

impl Roll {
    /// A device.
    pub fn get(&self, device: DeviceId) -> Option<&Entry> {
        self.entries.get(&device)
    }

    /// Whose address it is.
    pub fn by_address(&self, address: IpAddr) -> Option<DeviceId> {
        self.addresses.get(&address).copied()
    }

    /// Whose key it is.
    pub fn by_key(&self, key: PublicKey) -> Option<DeviceId> {
        self.keys.get(&key).copied()
    }

    /// Enters new and changed devices, and strikes out those that are gone. No address and no key is of two.
    pub fn change(&mut self, peers: &[Peer], gone: &[DeviceId]) {
        for device in peers.iter().map(|peer| &peer.device).chain(gone) {
            if let Some(entry) = self.entries.remove(device) {
                for address in entry.addresses {
                    self.addresses.remove(&address);
                }
                self.keys.remove(&entry.public_key);
            }
        }
        for peer in peers {
            self.addresses.extend(peer.addresses().map(|address| (address, peer.device)));
            self.keys.insert(peer.public_key, peer.device);
            self.entries.insert(peer.device, Entry::from(peer));
        }
    }

    /// All devices.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.entries.keys().copied()
    }
}

impl From<&Peer> for Entry {
    fn from(peer: &Peer) -> Self {
        Self { addresses: peer.addresses(), public_key: peer.public_key, expires_at: peer.expires_at }
    }
}
