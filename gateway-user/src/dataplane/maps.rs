//! The maps from user space. This process is the only writer of each, but for flows and counters.

use std::collections::HashMap as StdHashMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{HashMap, IterableMap, Map, MapData, MapError, PerCpuArray};
use nexa_abi::engine::Recent;
use nexa_abi::layout::{
    DestKey, FlowKey, FlowValue, FragmentKey, FragmentValue, PeerCounters, PeerKey, PeerValue, PortsKey,
    PortsValue, Profile, RuleCounters, State, map,
};
use nexa_gateway_core::install::Found;
use nexa_gateway_core::{Plan, Room};

use super::mapping::Mapping;
use super::prefixes::Prefixes;
use super::profiles::Profiles;
use super::removal::{Batch, Removal};
use super::shape::Shape;
use super::state::{self, StateWord};
use super::table::{self, Table};

/// Maps that outlive the daemon: all but those that hold nothing for longer than a packet, or speak to a daemon.
pub const PINNED: [&str; 13] = [
    map::STATE,
    map::PEERS,
    map::PROFILES,
    map::HOSTS,
    map::DEST,
    map::SINGLE_PORTS,
    map::PORTS,
    map::FLOWS,
    map::FRAGMENTS,
    map::USAGE,
    map::PEER_COUNTERS,
    map::RULE_COUNTERS,
    map::DROPS,
];

/// Removes the pins of maps of another layout or size, as another version or other settings made them: the loader would
/// take them without a look. All of them, because maps refer to each other. Programs that are attached keep theirs until
/// they are replaced.
pub fn unpin_foreign(dir: &Path, shapes: &[Shape]) -> anyhow::Result<()> {
    let is_foreign = |shape: &&Shape| -> anyhow::Result<bool> {
        let pin = dir.join(shape.name);
        Ok(pin.exists() && !shape.is_of(&MapData::from_pin(&pin)?.info()?))
    };
    for shape in shapes.iter().filter(|shape| PINNED.contains(&shape.name)) {
        let name = shape.name;
        if is_foreign(&shape).with_context(|| format!("cannot look at the pinned map {name}"))? {
            tracing::warn!(
                map = name,
                "the pinned maps are of another version or size; starting with empty ones"
            );
            for name in PINNED.map(|name| dir.join(name)).iter().filter(|pin| pin.exists()) {
                std::fs::remove_file(name).with_context(|| format!("cannot remove {}", name.display()))?;
            }
            return Ok(());
        }
    }
    Ok(())
}

/// Every map, typed.
pub struct Maps {
    state: StateWord,
    peers: Table<PeerKey, PeerValue>,
    profiles: Profiles,
    dest: Prefixes<DestKey, u32>,
    ports: Prefixes<PortsKey, PortsValue>,
    flows: HashMap<MapData, FlowKey, FlowValue>,
    recent: Mapping,
    fragments: HashMap<MapData, FragmentKey, FragmentValue>,
    peer_counters: PerCpuArray<MapData, PeerCounters>,
    rule_counters: PerCpuArray<MapData, RuleCounters>,
    removal: Removal,
    /// Whether programs that began before the last swap of banks may still be at work.
    bank_is_read: bool,
}

impl Maps {
    /// Takes the maps out of a loaded object.
    pub fn take(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        let mut take = |name| ebpf.take_map(name).with_context(|| format!("the object has no map {name}"));
        Ok(Self {
            state: StateWord::map(&data(take(map::STATE)?)?)?,
            peers: Table::open(map::PEERS, &data(take(map::PEERS)?)?)?,
            profiles: Profiles::map(&data(take(map::PROFILES)?)?)?,
            dest: Prefixes::open(
                (map::HOSTS, &data(take(map::HOSTS)?)?),
                (map::DEST, &data(take(map::DEST)?)?),
            )?,
            ports: Prefixes::open(
                (map::SINGLE_PORTS, &data(take(map::SINGLE_PORTS)?)?),
                (map::PORTS, &data(take(map::PORTS)?)?),
            )?,
            flows: take(map::FLOWS)?.try_into()?,
            recent: recent(&data(take(map::RECENT)?)?)?,
            fragments: take(map::FRAGMENTS)?.try_into()?,
            peer_counters: take(map::PEER_COUNTERS)?.try_into()?,
            rule_counters: take(map::RULE_COUNTERS)?.try_into()?,
            removal: Removal::default(),
            bank_is_read: false,
        })
    }

    /// What an earlier daemon left, or this one. All of it is the next plan's to keep or delete.
    pub fn find(&mut self) -> anyhow::Result<Found> {
        let ports = self.ports.find()?;
        let found = Found {
            state: self.state(),
            peers: self.peers.read()?,
            dest: self.dest.find()?.into_iter().map(|(prefix, _)| prefix).collect(),
            rules: ports.iter().map(|(_, value)| (value.rule, value.slot())).collect(),
            ports: ports.into_iter().map(|(prefix, _)| prefix).collect(),
            rule_slots: self.rule_counters.len(),
        };
        self.removal = Removal::default();
        Ok(found)
    }

    /// The generation in force.
    pub fn state(&self) -> State {
        self.state.load()
    }

    /// Most entries of the maps that a policy may fill.
    pub const fn capacity(&self) -> Room {
        Room {
            peers: self.peers.capacity() as usize,
            dest: self.dest.capacity() as usize,
            ports: self.ports.capacity() as usize,
        }
    }

    /// All that a generation refers to. Nothing of it is in force yet. After an error some is written, for
    /// [`Self::take_back`].
    pub fn prepare(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let gives_places = !plan.reset_counters.is_empty() || !plan.reset_rules.is_empty();
        if self.bank_is_read && (gives_places || !plan.profiles.is_empty()) {
            // The idle bank must be nobody's before anything is written to it, and so must places of counters.
            self.settle();
        }
        self.ports.insert(plan.insert_ports.iter().map(|(bits, key, value)| ((*bits, *key), *value)))?;
        self.dest.insert(plan.insert_dest.iter().map(|(bits, key, class)| ((*bits, *key), *class)))?;
        table::zero(map::PEER_COUNTERS, IterableMap::map(&self.peer_counters), &plan.reset_counters)?;
        table::zero(map::RULE_COUNTERS, IterableMap::map(&self.rule_counters), &plan.reset_rules)?;
        self.peers.insert(plan.insert_peers.iter().copied())?;
        for (address, _) in &plan.insert_peers {
            self.removal.keep(address);
        }
        // Last, as nothing of it can be refused: the idle bank stays what it is known to be.
        for (position, profile) in &plan.profiles {
            self.profiles.store(*position, *profile);
        }
        Ok(())
    }

    /// Puts a generation in force: each device that has a patch by one store, or all of them by one.
    pub fn flip(&mut self, plan: &Plan) {
        for (position, patch) in &plan.patches {
            self.profiles.patch(*position, *patch);
        }
        self.state.store_excluded(plan.excluded);
        self.bank_is_read |= self.state().bank() != plan.state.bank();
        self.state.store(plan.state);
    }

    /// Goes back to a bank, whatever is in it.
    pub fn reset(&mut self, state: State) {
        self.bank_is_read = true;
        self.state.store(state);
    }

    /// Takes note of what only the generation before `plan` referred to. Programs that have begun before may still use it.
    pub fn retire(&mut self, plan: &Plan) {
        self.removal.add(plan);
        // At once, and not in slices: by an address that it gave up, a device would be known until then. A program that still
        // looks for one misses it, as the next one will. Where that fails, it is tried again with the rest.
        if self.peers.remove(plan.delete_peers.iter().copied()).is_ok() {
            plan.delete_peers.iter().for_each(|address| self.removal.keep(address));
        }
    }

    /// Takes back what [`Self::prepare`] has written of a generation that does not come into force. `before` are the
    /// addresses of the one in force.
    pub fn take_back(&mut self, plan: &Plan, before: &StdHashMap<PeerKey, PeerValue>) -> anyhow::Result<()> {
        self.removal.take_back(plan, before);
        let overwritten = plan.insert_peers.iter().filter_map(|(address, _)| before.get_key_value(address));
        self.peers.insert(overwritten.map(|(address, value)| (*address, *value)))?;
        self.remove_all_retired()
    }

    /// Waits until no program is at work that may have begun before the last flip.
    fn settle(&mut self) {
        state::wait_for_programs();
        self.bank_is_read = false;
        for position in self.removal.settle() {
            self.profiles.store(position, Profile::default());
        }
    }

    /// Whether entries wait that nobody refers to.
    pub fn has_retired(&self) -> bool {
        self.bank_is_read || !self.removal.is_empty()
    }

    /// Room that they take.
    pub fn retired(&self) -> Room {
        self.removal.room()
    }

    /// Deletes all that nobody refers to, however long it takes.
    pub fn remove_all_retired(&mut self) -> anyhow::Result<()> {
        while self.has_retired() {
            self.remove_retired()?;
        }
        Ok(())
    }

    /// Deletes some of what nobody refers to, for a bounded time.
    pub fn remove_retired(&mut self) -> anyhow::Result<()> {
        if self.bank_is_read || self.removal.is_unsettled() {
            self.settle();
        }
        let Self { peers, dest, ports, removal, .. } = self;
        removal.slice(|batch| match batch {
            Batch::Peers(keys) => peers.remove(keys.iter().copied()),
            Batch::Dest(keys) => dest.remove(keys.iter().copied()),
            Batch::Ports(keys) => ports.remove(keys.iter().copied()),
        })
    }

    /// Deletes every flow, where it is noted too, and what was noted of fragments.
    pub fn forget_flows(&mut self) -> anyhow::Result<()> {
        let keys = self.flows.keys().collect::<Result<Vec<_>, _>>().context("cannot read FLOWS")?;
        for key in keys {
            gone(self.flows.remove(&key)).context("cannot delete from FLOWS")?;
        }
        // Afterwards, as what is still in FLOWS would be noted again.
        self.recent.words().iter().for_each(|word| word.store(0, Ordering::Relaxed));
        let keys = self.fragments.keys().collect::<Result<Vec<_>, _>>().context("cannot read FRAGMENTS")?;
        for key in keys {
            gone(self.fragments.remove(&key)).context("cannot delete from FRAGMENTS")?;
        }
        Ok(())
    }
}

fn recent(data: &MapData) -> anyhow::Result<Mapping> {
    let places = data.info()?.max_entries() as usize;
    Mapping::of(map::RECENT, data, places * (size_of::<Recent>() / size_of::<u64>()))
}

fn data(map: Map) -> anyhow::Result<MapData> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LpmTrie(data) => Ok(data),
        other => anyhow::bail!("the object has {other:?} where an array, a hash or a trie belongs"),
    }
}

/// What is absent is as good as deleted: a deletion may be repeated after a failure.
fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
