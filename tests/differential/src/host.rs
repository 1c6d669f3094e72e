//! The maps on the host: the same plans fill them, the same engine asks them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use nexa_abi::engine::{Limit, Recent, Tables};
use nexa_abi::layout::{
    DestKey, FlowKey, FlowValue, FragmentKey, FragmentValue, MAX_PEERS, PeerKey, PeerValue, PortsKey,
    PortsValue, Profile, State, Usage,
};
use nexa_gateway_core::install::{Found, Patch};
use nexa_gateway_core::{Content, Plan};

/// Few, so that flows take each other's places.
const RECENT: usize = 8;

/// Maps made of plain collections; a longest prefix is found by looking at all.
#[derive(Default)]
pub struct HostTables {
    state: Cell<State>,
    excluded: Cell<u32>,
    peers: HashMap<PeerKey, u32>,
    profiles: HashMap<u32, Profile>,
    dest: HashMap<(u32, [u8; 20]), u32>,
    ports: HashMap<(u32, [u8; 7]), PortsValue>,
    flows: RefCell<HashMap<FlowKey, FlowValue>>,
    recent: RefCell<[Recent; RECENT]>,
    fragments: RefCell<HashMap<FragmentKey, FragmentValue>>,
    usage: RefCell<HashMap<u32, Usage>>,
}

impl HostTables {
    /// Carries out a plan, in its order.
    ///
    /// # Panics
    /// When the plan deletes what is not there or overwrites what programs may be reading.
    pub fn carry_out(&mut self, plan: &Plan) {
        for (bits, key, value) in &plan.insert_ports {
            assert!(self.ports.insert((*bits, ports_bytes(key)), *value).is_none(), "{key:?} is in use");
        }
        for (bits, key, class) in &plan.insert_dest {
            assert!(self.dest.insert((*bits, key.to_bytes()), *class).is_none(), "{key:?} is in use");
        }
        let live = self.state.get().bank();
        for (position, profile) in &plan.profiles {
            assert_ne!(position / MAX_PEERS, live, "profile {position} is live");
            self.profiles.insert(*position, *profile);
        }
        for (key, value) in &plan.insert_peers {
            self.peers.insert(*key, value.peer);
        }
        assert!(plan.patches.is_empty() || plan.state.bank() == live, "patched is the live bank");
        for (position, patch) in &plan.patches {
            assert_eq!(position / MAX_PEERS, live, "profile {position} is not live");
            let profile = self.profiles.get_mut(position).expect("only what is there is patched");
            match patch {
                Patch::Gone => *profile = Profile::default(),
                Patch::Lease(until_ns) => profile.lease_until_ns = *until_ns,
                Patch::Shared(set) => profile.shared = *set,
                Patch::Own(set) => profile.own = *set,
            }
        }
        self.excluded.set(plan.excluded);
        self.state.set(plan.state);
        for key in &plan.delete_peers {
            assert!(self.peers.remove(key).is_some(), "{key:?} is not there");
        }
        for (bits, key) in &plan.delete_dest {
            assert!(self.dest.remove(&(*bits, key.to_bytes())).is_some(), "{key:?} is not there");
        }
        for (bits, key) in &plan.delete_ports {
            assert!(self.ports.remove(&(*bits, ports_bytes(key))).is_some(), "{key:?} is not there");
        }
    }

    /// What a daemon that starts would find.
    pub fn find(&self) -> Found {
        Found {
            state: self.state.get(),
            peers: self.peers.iter().map(|(key, peer)| (*key, PeerValue { peer: *peer })).collect(),
            dest: self.dest.keys().map(|(bits, key)| (*bits, DestKey::from_bytes(*key))).collect(),
            rules: self.ports.values().map(|value| (value.rule, value.slot())).collect(),
            ports: self.ports.keys().map(|(bits, key)| (*bits, ports_key(key))).collect(),
            ..Found::default()
        }
    }

    /// Everything that decides, as [`nexa_gateway_core::Installer::content`] says what it is meant to be.
    pub fn content(&self) -> Content {
        let state = self.state.get();
        let is_live = |position: &u32| position / MAX_PEERS == state.bank();
        let profiles = self.profiles.iter().filter(|(position, _)| is_live(position));
        Content {
            state,
            excluded: self.excluded.get(),
            peers: self.peers.iter().map(|(key, peer)| (*key, PeerValue { peer: *peer })).collect(),
            profiles: profiles
                .filter(|(_, profile)| **profile != Profile::default())
                .map(|(position, profile)| (*position, *profile))
                .collect(),
            dest: self
                .dest
                .iter()
                .map(|((bits, key), class)| ((*bits, DestKey::from_bytes(*key)), *class))
                .collect(),
            ports: self.ports.iter().map(|((bits, key), value)| ((*bits, ports_key(key)), *value)).collect(),
        }
    }

    /// Forgets every flow, and every datagram of which a first fragment passed.
    pub fn forget_flows(&mut self) {
        self.flows.borrow_mut().clear();
        *self.recent.borrow_mut() = Default::default();
        self.fragments.borrow_mut().clear();
    }

    /// Entries of PEERS, DEST and PORTS: what must not grow over generations.
    pub fn len(&self) -> [usize; 3] {
        [self.peers.len(), self.dest.len(), self.ports.len()]
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }
}

impl Tables for HostTables {
    fn state(&self) -> State {
        self.state.get()
    }

    fn excluded(&self) -> u32 {
        self.excluded.get()
    }

    fn peer(&self, key: &PeerKey) -> Option<u32> {
        self.peers.get(key).copied()
    }

    fn profile(&self, bank: u32, peer: u32) -> Option<Profile> {
        // An array: a position that was never written is zero.
        Some(self.profiles.get(&(bank * MAX_PEERS + peer)).copied().unwrap_or_default())
    }

    fn class(&self, key: &DestKey) -> Option<u32> {
        longest(&self.dest, &key.to_bytes()).copied()
    }

    fn ports(&self, key: &PortsKey) -> Option<PortsValue> {
        longest(&self.ports, &ports_bytes(key)).copied()
    }

    fn flow<R>(&self, key: &FlowKey, look: impl FnOnce(&mut FlowValue) -> R) -> Option<R> {
        self.flows.borrow_mut().get_mut(key).map(look)
    }

    fn recent<R>(&self, place: u64, look: impl FnOnce(&mut Recent) -> R) -> Option<R> {
        Some(look(&mut self.recent.borrow_mut()[place as usize % RECENT]))
    }

    fn insert_flow(&self, key: &FlowKey, value: &FlowValue) {
        self.flows.borrow_mut().insert(*key, *value);
    }

    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentValue> {
        self.fragments.borrow().get(key).copied()
    }

    fn insert_fragment(&self, key: &FragmentKey, value: &FragmentValue) {
        self.fragments.borrow_mut().insert(*key, *value);
    }

    fn usage<R>(&self, peer: u32, look: impl FnOnce(&mut Usage) -> R) -> Option<R> {
        Some(look(self.usage.borrow_mut().entry(peer).or_default()))
    }

    fn new_flow_limit(&self) -> Limit {
        Limit::NONE
    }
}

fn longest<'a, const N: usize, V>(trie: &'a HashMap<(u32, [u8; N]), V>, key: &[u8; N]) -> Option<&'a V> {
    trie.iter()
        .filter(|((bits, prefix), _)| same_bits(prefix, key, *bits))
        .max_by_key(|((bits, _), _)| *bits)
        .map(|(_, value)| value)
}

fn same_bits(one: &[u8], other: &[u8], bits: u32) -> bool {
    one.iter().zip(other).enumerate().all(|(index, (one, other))| {
        let wanted = bits.saturating_sub(u32::try_from(index).expect("short") * 8).min(8);
        let mask = !(0xff_u32 >> wanted) as u8;
        one & mask == other & mask
    })
}

fn ports_key(bytes: &[u8; 7]) -> PortsKey {
    PortsKey {
        class: *bytes.first_chunk().expect("longer"),
        protocol: bytes[4],
        port: *bytes.last_chunk().expect("longer"),
    }
}

fn ports_bytes(key: &PortsKey) -> [u8; 7] {
    let [a, b, c, d] = key.class;
    let [first, second] = key.port;
    [a, b, c, d, key.protocol, first, second]
}
