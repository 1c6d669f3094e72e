//! What a swap writes and deletes.

use nexa_abi::layout::{DestKey, PeerKey, PeerValue, PortsKey, PortsValue, Profile, State};

use super::entries::dest;
use super::numbers::Renumbered;
use crate::lower::DestEntry;

/// A prefix of the DEST map with its number given.
pub type Dest = (u32, DestKey, u32);
/// A prefix of the PORTS map with its number given.
pub type Ports = (u32, PortsKey, PortsValue);

/// Writes and deletions of one swap. To be done in the order of the fields, the whole of one before the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Into PORTS: bits, key, value.
    pub insert_ports: Vec<Ports>,
    /// Into DEST: bits, key, class.
    pub insert_dest: Vec<Dest>,
    /// Into PEERS. Without effect before the flip: the live bank has no profile for them.
    pub insert_peers: Vec<(PeerKey, PeerValue)>,
    /// Into PROFILES, by position; all of the idle bank, or nothing of it.
    pub profiles: Vec<(u32, Profile)>,
    /// Into PROFILES, by position, where one store in the live bank is all that changes for a device.
    pub patches: Vec<(u32, Patch)>,
    /// Into STATE: the flip. The bank stays where there are patches.
    pub state: State,
    /// Into STATE, with the flip: the set of what no resource covers.
    pub excluded: u32,
    /// From PEERS, after the flip: addresses without a device.
    pub delete_peers: Vec<PeerKey>,
    /// From DEST, after the flip and a grace period: bits and key.
    pub delete_dest: Vec<(u32, DestKey)>,
    /// From PORTS, after the flip and a grace period: bits and key.
    pub delete_ports: Vec<(u32, PortsKey)>,
    /// Indexes whose counters start anew, before the flip.
    pub reset_counters: Vec<u32>,
    /// Slots of rules whose counters start anew, before the flip.
    pub reset_rules: Vec<u32>,
}

/// What changes of a profile under the eyes of programs: one aligned store, so that none of them sees half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// Nobody is there any more. The rest of the profile is cleared once no program may look at it.
    Gone,
    /// [`Profile::lease_until_ns`].
    Lease(u64),
    /// [`Profile::shared`].
    Shared(u32),
    /// [`Profile::own`].
    Own(u32),
}

impl Plan {
    pub(super) fn renumber_sets(&mut self, Renumbered { added, gone }: Renumbered<DestEntry>) {
        for (set, number) in added {
            self.insert_dest.extend(set.iter().map(|entry| dest(*entry, number)));
        }
        for (set, number) in gone {
            let keys = set.iter().map(|entry| dest(*entry, number)).map(|(bits, key, _)| (bits, key));
            self.delete_dest.extend(keys);
        }
    }
}
