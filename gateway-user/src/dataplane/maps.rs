//! The maps from user space. This process is the only writer of each, but for flows and counters.

use std::path::Path;

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, IterableMap, Map, MapData, MapError, PerCpuArray};
use nexa_abi::layout::{
    DestKey, Direction, FlowKey, FlowValue, FragmentKey, FragmentValue, PeerCounters, PeerKey, PeerValue,
    PortsKey, PortsValue, Profile, RuleCounters, State, Usage, drop_index, map,
};
use nexa_abi::reason::Reason;
use nexa_gateway_core::Plan;
use nexa_gateway_core::install::Found;

use super::Drops;
use super::profiles::Profiles;
use super::removal::{Batch, Removal};
use super::state::StateWord;
use super::table::{self, Table, bits_and_key, prefix};

/// Maps that outlive the daemon: all but those that hold nothing for longer than a packet, or speak to a daemon.
pub const PINNED: [&str; 11] = [
    map::STATE,
    map::PEERS,
    map::PROFILES,
    map::DEST,
    map::PORTS,
    map::FLOWS,
    map::FRAGMENTS,
    map::USAGE,
    map::PEER_COUNTERS,
    map::RULE_COUNTERS,
    map::DROPS,
];

/// Bytes of each map's key and value.
const SIZES: [(&str, usize, usize); 11] = [
    (map::STATE, INDEX, size_of::<State>()),
    (map::PEERS, size_of::<PeerKey>(), size_of::<PeerValue>()),
    (map::PROFILES, INDEX, size_of::<Profile>()),
    (map::DEST, PREFIX + size_of::<DestKey>(), size_of::<u32>()),
    (map::PORTS, PREFIX + size_of::<PortsKey>(), size_of::<PortsValue>()),
    (map::FLOWS, size_of::<FlowKey>(), size_of::<FlowValue>()),
    (map::FRAGMENTS, size_of::<FragmentKey>(), size_of::<FragmentValue>()),
    (map::USAGE, INDEX, size_of::<Usage>()),
    (map::PEER_COUNTERS, INDEX, size_of::<PeerCounters>()),
    (map::RULE_COUNTERS, INDEX, size_of::<RuleCounters>()),
    (map::DROPS, INDEX, size_of::<u64>()),
];

/// Key of an array.
const INDEX: usize = size_of::<u32>();

/// Length in front of a trie's key.
const PREFIX: usize = size_of::<u32>();

/// Removes the pins of a version whose maps have another layout: the loader would take them without a look. All of them,
/// because maps refer to each other. Programs that are attached keep theirs until they are replaced.
pub fn unpin_foreign(dir: &Path) -> anyhow::Result<()> {
    let is_foreign = |(name, key, value): &(&str, usize, usize)| -> anyhow::Result<bool> {
        let pin = dir.join(name);
        if !pin.exists() {
            return Ok(false);
        }
        let info = MapData::from_pin(&pin)?.info()?;
        Ok((info.key_size() as usize, info.value_size() as usize) != (*key, *value))
    };
    for map in &SIZES {
        if is_foreign(map).with_context(|| format!("cannot look at the pinned map {}", map.0))? {
            tracing::warn!(map = map.0, "the pinned maps are of another version; starting with empty ones");
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
    dest: Table<Key<DestKey>, u32>,
    ports: Table<Key<PortsKey>, PortsValue>,
    flows: HashMap<MapData, FlowKey, FlowValue>,
    fragments: HashMap<MapData, FragmentKey, FragmentValue>,
    peer_counters: PerCpuArray<MapData, PeerCounters>,
    rule_counters: PerCpuArray<MapData, RuleCounters>,
    drops: PerCpuArray<MapData, u64>,
    removal: Removal,
}

impl Maps {
    /// Takes the maps out of a loaded object.
    pub fn take(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        let mut take = |name| ebpf.take_map(name).with_context(|| format!("the object has no map {name}"));
        Ok(Self {
            state: StateWord::map(&data(take(map::STATE)?)?)?,
            peers: Table::open(map::PEERS, &data(take(map::PEERS)?)?)?,
            profiles: Profiles::map(&data(take(map::PROFILES)?)?)?,
            dest: Table::open(map::DEST, &data(take(map::DEST)?)?)?,
            ports: Table::open(map::PORTS, &data(take(map::PORTS)?)?)?,
            flows: take(map::FLOWS)?.try_into()?,
            fragments: take(map::FRAGMENTS)?.try_into()?,
            peer_counters: take(map::PEER_COUNTERS)?.try_into()?,
            rule_counters: take(map::RULE_COUNTERS)?.try_into()?,
            drops: take(map::DROPS)?.try_into()?,
            removal: Removal::default(),
        })
    }

    /// What an earlier daemon left, or this one. All of it is the next plan's to keep or delete.
    pub fn find(&mut self) -> anyhow::Result<Found> {
        let ports = self.ports.read()?;
        let found = Found {
            state: self.state(),
            peers: self.peers.read()?,
            dest: self.dest.read()?.into_iter().map(|(key, _)| bits_and_key(key)).collect(),
            rules: ports.iter().map(|(_, value)| (value.rule, value.slot())).collect(),
            ports: ports.into_iter().map(|(key, _)| bits_and_key(key)).collect(),
        };
        self.removal = Removal::default();
        Ok(found)
    }

    /// The generation in force.
    pub fn state(&self) -> State {
        self.state.load()
    }

    /// All that a generation refers to. Nothing of it is in force yet.
    pub fn prepare(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.ports
            .insert(plan.insert_ports.iter().map(|(bits, key, value)| (prefix((*bits, *key)), *value)))?;
        self.dest
            .insert(plan.insert_dest.iter().map(|(bits, key, class)| (prefix((*bits, *key)), *class)))?;
        table::zero(map::PEER_COUNTERS, IterableMap::map(&self.peer_counters), &plan.reset_counters)?;
        table::zero(map::RULE_COUNTERS, IterableMap::map(&self.rule_counters), &plan.reset_rules)?;
        for (position, profile) in &plan.profiles {
            self.profiles.store(*position, *profile);
        }
        self.peers.insert(plan.insert_peers.iter().copied())?;
        for (address, _) in &plan.insert_peers {
            self.removal.keep(address);
        }
        Ok(())
    }

    /// Puts a generation in force.
    pub fn flip(&self, state: State) {
        self.state.store(state);
    }

    /// Takes note of what only the generation before `plan` referred to. No program may use it any more.
    pub fn retire(&mut self, plan: &Plan) {
        self.removal.add(plan);
    }

    /// Whether entries wait that nobody refers to.
    pub fn has_retired(&self) -> bool {
        !self.removal.is_empty()
    }

    /// Deletes some of what nobody refers to, for a bounded time.
    pub fn remove_retired(&mut self) -> anyhow::Result<()> {
        let Self { peers, dest, ports, removal, .. } = self;
        removal.slice(|batch| match batch {
            Batch::Peers(keys) => peers.remove(keys.iter().copied()),
            Batch::Dest(keys) => dest.remove(keys.iter().copied().map(prefix)),
            Batch::Ports(keys) => ports.remove(keys.iter().copied().map(prefix)),
        })
    }

    /// A peer's counters, of all CPUs together.
    pub fn peer_counters(&self, index: u32) -> anyhow::Result<PeerCounters> {
        let mut sum = PeerCounters::default();
        for counted in self.peer_counters.get(&index, 0).context("cannot read PEER_COUNTERS")?.iter() {
            sum.received_packets += counted.received_packets;
            sum.received_bytes += counted.received_bytes;
            sum.sent_packets += counted.sent_packets;
            sum.sent_bytes += counted.sent_bytes;
            for (sum, counted) in sum.drops.iter_mut().zip(counted.drops) {
                *sum += counted;
            }
        }
        Ok(sum)
    }

    /// A rule's counters, of all CPUs together.
    pub fn rule_counters(&self, slot: u32) -> anyhow::Result<RuleCounters> {
        let mut sum = RuleCounters::default();
        for counted in self.rule_counters.get(&slot, 0).context("cannot read RULE_COUNTERS")?.iter() {
            sum.allowed_packets += counted.allowed_packets;
            sum.allowed_bytes += counted.allowed_bytes;
            sum.denied_packets += counted.denied_packets;
            sum.denied_bytes += counted.denied_bytes;
        }
        Ok(sum)
    }

    /// Drops by reason and direction, of all CPUs together.
    pub fn drops(&self) -> anyhow::Result<Vec<Drops>> {
        let mut drops = Vec::new();
        for reason in Reason::ALL {
            for (direction, name) in [(Direction::Ingress, "ingress"), (Direction::Egress, "egress")] {
                let counted =
                    self.drops.get(&drop_index(*reason, direction), 0).context("cannot read DROPS")?;
                drops.push(Drops { reason: reason.as_str(), direction: name, packets: counted.iter().sum() });
            }
        }
        Ok(drops)
    }

    /// Deletes every flow, and what was noted of fragments.
    pub fn forget_flows(&mut self) -> anyhow::Result<()> {
        let keys = self.flows.keys().collect::<Result<Vec<_>, _>>().context("cannot read FLOWS")?;
        for key in keys {
            gone(self.flows.remove(&key)).context("cannot delete from FLOWS")?;
        }
        let keys = self.fragments.keys().collect::<Result<Vec<_>, _>>().context("cannot read FRAGMENTS")?;
        for key in keys {
            gone(self.fragments.remove(&key)).context("cannot delete from FRAGMENTS")?;
        }
        Ok(())
    }
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
