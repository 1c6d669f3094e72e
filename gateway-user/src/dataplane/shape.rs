//! What the maps are like: layout, entries, and the kernel's memory that they take.

use aya::maps::MapInfo;
use nexa_abi::engine::Recent;
use nexa_abi::layout::{
    DROP_COUNTERS, DestKey, Event, FlowKey, FlowValue, FragmentKey, FragmentValue, MAX_PEERS, PeerCounters,
    PeerKey, PeerValue, PortsKey, PortsValue, Profile, RuleCounters, State, Usage, map, rule_slots, state,
};

use super::Options;

/// A map as this version makes it.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its name in the object.
    pub name: &'static str,
    /// Entries, or bytes of a ring buffer.
    pub entries: u32,
    kind: Kind,
    key_bytes: usize,
    value_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    /// That user space may map into its memory.
    MappedArray,
    PerCpuArray,
    Hash,
    /// Memory is taken for buckets, and for entries that there are.
    SparseHash,
    /// Memory is taken for entries that there are.
    Trie,
    RingBuffer,
}

/// linux/bpf.h, `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

/// Key of an array.
const INDEX: usize = size_of::<u32>();

/// Length in front of a trie's key.
const PREFIX: usize = size_of::<u32>();

/// Datagrams in pieces that are remembered at a time.
const FRAGMENTS: u32 = 1 << 14;

/// Bytes of events that wait for their reader.
const EVENT_BYTES: u32 = 1 << 18;

/// Hosts and single ports that are found by hash. More would make its buckets sparse, and each look at them a wait for
/// memory; what finds no room is found by the tries.
const MOST_WHOLE_KEYS: u32 = 1 << 18;

/// Beyond that the memory is better spent otherwise: 32 MiB.
const MOST_RECENT: u32 = 1 << 18;

/// Every map that lasts, and the ring buffer.
pub fn of(options: &Options) -> Vec<Shape> {
    let shape =
        |name, kind, key_bytes, value_bytes, entries| Shape { name, entries, kind, key_bytes, value_bytes };
    let array = |name, kind, value_bytes, entries| shape(name, kind, INDEX, value_bytes, entries);
    let entries = options.max_entries;
    let whole_keys = entries.min(MOST_WHOLE_KEYS);
    vec![
        array(map::STATE, Kind::MappedArray, size_of::<State>(), state::COUNT),
        shape(map::PEERS, Kind::Hash, size_of::<PeerKey>(), size_of::<PeerValue>(), options.max_addresses),
        array(map::PROFILES, Kind::MappedArray, size_of::<Profile>(), 2 * MAX_PEERS),
        shape(map::HOSTS, Kind::SparseHash, size_of::<DestKey>(), size_of::<u32>(), whole_keys),
        shape(map::DEST, Kind::Trie, PREFIX + size_of::<DestKey>(), size_of::<u32>(), entries),
        shape(
            map::SINGLE_PORTS,
            Kind::SparseHash,
            size_of::<PortsKey>(),
            size_of::<PortsValue>(),
            whole_keys,
        ),
        shape(map::PORTS, Kind::Trie, PREFIX + size_of::<PortsKey>(), size_of::<PortsValue>(), entries),
        shape(map::FLOWS, Kind::Hash, size_of::<FlowKey>(), size_of::<FlowValue>(), options.max_flows),
        array(map::RECENT, Kind::MappedArray, size_of::<Recent>(), recent_places(options)),
        shape(map::FRAGMENTS, Kind::Hash, size_of::<FragmentKey>(), size_of::<FragmentValue>(), FRAGMENTS),
        array(map::USAGE, Kind::Array, size_of::<Usage>(), MAX_PEERS + 1),
        array(map::PEER_COUNTERS, Kind::PerCpuArray, size_of::<PeerCounters>(), MAX_PEERS),
        array(
            map::RULE_COUNTERS,
            Kind::PerCpuArray,
            size_of::<RuleCounters>(),
            rule_slots(options.max_rules),
        ),
        array(map::DROPS, Kind::PerCpuArray, size_of::<u64>(), DROP_COUNTERS),
        shape(map::EVENTS, Kind::RingBuffer, 0, size_of::<Event>(), EVENT_BYTES),
    ]
}

/// Places for two recent flows each, of all CPUs together: so many that most flows have one where one CPU has most of them.
const fn recent_places(options: &Options) -> u32 {
    let flows = options.max_flows.next_power_of_two();
    if flows < MOST_RECENT { flows } else { MOST_RECENT }
}

/// Those of each CPU: a power of two.
pub const fn recent_places_of_cpu(options: &Options, cpus: u32) -> u32 {
    let share = recent_places(options) / if cpus > 0 { cpus } else { 1 };
    if share > 1 { 1 << share.ilog2() } else { 1 }
}

impl Shape {
    /// Whether a map in the kernel is like this.
    pub fn is_of(&self, info: &MapInfo) -> bool {
        (info.key_size() as usize, info.value_size() as usize) == (self.key_bytes, self.value_bytes)
            && info.max_entries() == self.entries
            && (info.map_flags() & MMAPABLE != 0) == (self.kind == Kind::MappedArray)
    }

    /// Bytes of kernel memory that it takes at most with `filled` entries, on a host with `cpus` possible CPUs. Only a
    /// trie takes less for being less full.
    pub const fn memory_bytes(&self, filled: u64, cpus: u64) -> u64 {
        const PAGE: u64 = 4096;
        let value = (self.value_bytes as u64).next_multiple_of(8);
        let key = (self.key_bytes as u64).next_multiple_of(8);
        let entries = self.entries as u64;
        // What every map has beside its entries.
        let own = PAGE;
        own + match self.kind {
            Kind::Array => entries * value,
            Kind::MappedArray => (entries * value).next_multiple_of(PAGE),
            // A pointer for each, to the values of all CPUs.
            Kind::PerCpuArray => entries * (8 + value * cpus),
            // struct htab_elem is 48 bytes, a bucket 16; each CPU has a spare element and a place in the list.
            Kind::Hash => {
                (entries + cpus) * (48 + key + value) + entries.next_power_of_two() * 16 + cpus * PAGE
            }
            Kind::SparseHash => {
                let filled = if filled < entries { filled } else { entries };
                filled * (48 + key + value).next_power_of_two()
                    + entries.next_power_of_two() * 16
                    + cpus * PAGE
            }
            // struct lpm_trie_node is at most 40 bytes before its key, and each entry may need a node to branch at.
            Kind::Trie => 2 * filled * (40 + key + value).next_power_of_two(),
            Kind::RingBuffer => entries + 4 * PAGE,
        }
    }
}
