//! The first swap of a daemon, over what is in the maps.

use std::collections::{BTreeSet, HashMap, HashSet};

use nexa_abi::layout::{DestKey, MAX_PEERS, MAX_SET, PeerKey, PeerValue, PortsKey, RULE_SLOTS, State};

use super::numbers::Numbers;
use super::{Installed, Installer, Moment, Plan};
use crate::lower::Lowered;
use crate::slots::Slots;

/// Numbers of sets and classes above this one were never given out. Found in a map they are damage, and numbering does
/// not go on from there.
const MAX_NUMBER: u32 = MAX_SET / 2;

/// What a daemon that starts finds in pinned maps: everything an earlier one left.
#[derive(Clone, Debug)]
pub struct Found {
    /// The live generation.
    pub state: State,
    /// All addresses.
    pub peers: Vec<(PeerKey, PeerValue)>,
    /// All prefixes of DEST: bits and key.
    pub dest: Vec<(u32, DestKey)>,
    /// All prefixes of PORTS: bits and key.
    pub ports: Vec<(u32, PortsKey)>,
    /// Numbers of rules with their slots, as PORTS has them.
    pub rules: BTreeSet<(u32, u32)>,
    /// How many slots there are.
    pub rule_slots: u32,
}

/// Empty maps.
impl Default for Found {
    fn default() -> Self {
        Self {
            state: State::default(),
            peers: Vec::new(),
            dest: Vec::new(),
            ports: Vec::new(),
            rules: BTreeSet::new(),
            rule_slots: RULE_SLOTS,
        }
    }
}

impl Installer {
    /// Plans the first swap over maps that an earlier daemon filled, or over empty ones.
    ///
    /// What is found stays in force until the flip and is deleted after it. Numbers go on above those found.
    pub fn adopt(found: &Found, lowered: &Lowered, moment: Moment) -> (Self, Plan) {
        let number = |bytes: [u8; 4]| u32::from_be_bytes(bytes);
        let mut installer = Self {
            generation: found.state.generation(),
            // Flows in the map were decided under numbers that may be given out again; this tells them apart.
            epoch: (found.state.generation() + 1) as u32,
            ..Self::default()
        };
        let last = |numbers: &mut dyn Iterator<Item = u32>| {
            numbers.filter(|number| *number <= MAX_NUMBER).max().unwrap_or(0)
        };
        installer.sets = Numbers::above(last(&mut found.dest.iter().map(|(_, key)| key.set())));
        installer.classes = Numbers::above(last(&mut found.ports.iter().map(|(_, key)| number(key.class))));
        installer.keep_indexes(found, lowered);
        installer.slots = Slots::found(&found.rules, found.rule_slots);
        // Nothing is known of either bank: write every position of the idle one.
        installer.written = [MAX_PEERS; 2];

        let mut plan = installer.plan(lowered, moment);
        let kept: HashSet<PeerKey> =
            installer.peers.values().flat_map(|installed| installed.addresses).collect();
        plan.delete_peers.extend(found.peers.iter().map(|(key, _)| *key).filter(|key| !kept.contains(key)));
        plan.delete_dest.extend(found.dest.iter().copied());
        plan.delete_ports.extend(found.ports.iter().copied());
        (installer, plan)
    }

    /// Leaves devices the indexes under which the maps know their addresses: their packets pass and their counters
    /// go on while the daemon changes.
    fn keep_indexes(&mut self, found: &Found, lowered: &Lowered) {
        let known: HashMap<PeerKey, u32> =
            found.peers.iter().map(|(key, value)| (*key, value.peer)).collect();
        let mut taken = HashSet::new();
        for device in lowered.everything().peers {
            let Some(peer) = lowered.peer(device) else { continue };
            let [v4, v6] = peer.addresses.map(|key| known.get(&key).copied());
            if let Some(index) = v4.filter(|index| v6 == v4 && *index < MAX_PEERS && taken.insert(*index)) {
                let epoch = self.epoch;
                self.peers.insert(device, Installed { index, addresses: peer.addresses, epoch });
            }
        }
        let given = known.values().filter(|index| **index < MAX_PEERS);
        let used = given.map(|index| index + 1).max().unwrap_or(0);
        self.profiles.resize(used as usize, None);
        self.free = (0..used).filter(|index| !taken.contains(index)).collect();
    }
}
