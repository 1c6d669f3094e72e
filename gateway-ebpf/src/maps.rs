//! The maps, as the engine asks them and as counters are kept.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use nexa_abi::engine::{Limit, NOBODY, Now, Recent, Tables, Verdict};
use nexa_abi::layout::{
    DROP_COUNTERS, DestKey, Direction, Event, FlowKey, FlowValue, FragmentKey, FragmentValue, MAX_PEERS,
    PeerCounters, PeerKey, PeerValue, PortsKey, PortsValue, Profile, RULE_SLOTS, RuleCounters, State, Usage,
    drop_index, state,
};
use nexa_abi::packet::Packet;
use nexa_abi::reason::Reason;

/// Both generations of a swap, each with as many prefixes as one policy may have.
const MAX_PREFIXES: u32 = 2 << 20;

/// More would make the hashes' buckets sparse, and each look at them a wait for memory.
const MAX_WHOLE_KEYS: u32 = 1 << 18;

/// Mapped into the daemon's memory, which swaps generations by one store.
#[map]
static STATE: Array<State> = Array::with_max_entries(state::COUNT, BPF_F_MMAPABLE);
/// Two addresses a peer, and room for those of the next generation.
#[map]
static PEERS: HashMap<PeerKey, PeerValue> = HashMap::with_max_entries(4 * MAX_PEERS, 0);
/// Mapped too: a bank of ten thousand is written without a system call.
#[map]
static PROFILES: Array<Profile> = Array::with_max_entries(2 * MAX_PEERS, BPF_F_MMAPABLE);
/// What is a whole address or a single port is found here, or else in the tries: a hash is quicker, and most of a policy is
/// such. What finds no room is in the tries.
#[map]
static HOSTS: HashMap<DestKey, u32> = HashMap::with_max_entries(MAX_WHOLE_KEYS, BPF_F_NO_PREALLOC);
#[map]
static SINGLE_PORTS: HashMap<PortsKey, PortsValue> =
    HashMap::with_max_entries(MAX_WHOLE_KEYS, BPF_F_NO_PREALLOC);
#[map]
static DEST: LpmTrie<DestKey, u32> = LpmTrie::with_max_entries(MAX_PREFIXES, BPF_F_NO_PREALLOC);
#[map]
static PORTS: LpmTrie<PortsKey, PortsValue> = LpmTrie::with_max_entries(MAX_PREFIXES, BPF_F_NO_PREALLOC);
/// One list for all CPUs: per-CPU lists lose replies that arrive on another core. The loader sets the size.
#[map]
static FLOWS: LruHashMap<FlowKey, FlowValue> = LruHashMap::with_max_entries(1 << 18, 0);
/// In front of it, for each CPU as many places as [`RECENT_MASK`] says, so that no two CPUs write one. A plain array, as the
/// kernel keeps one for each CPU behind a table of pointers; and one to be mapped, as only that begins with a page, so that
/// no element lies across two lines of the processor's cache. The loader sets the size.
#[map]
static RECENT: Array<Recent> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Datagrams in pieces, of all peers: what comes in pieces arrives within moments.
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentValue> = LruHashMap::with_max_entries(1 << 14, 0);
#[map]
static USAGE: Array<Usage> = Array::with_max_entries(MAX_PEERS + 1, 0);
/// 2,900 events: a few seconds of a bad day. What finds no room is told of with what does.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);
/// The packet at hand: outside of the stack, of which all programs together have 512 bytes. A program runs to its end
/// before the next begins on the same CPU.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
static PEER_COUNTERS: PerCpuArray<PeerCounters> = PerCpuArray::with_max_entries(MAX_PEERS, 0);
#[map]
static RULE_COUNTERS: PerCpuArray<RuleCounters> = PerCpuArray::with_max_entries(RULE_SLOTS, 0);
#[map]
static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DROP_COUNTERS, 0);

/// How many flows a peer may begin. The loader writes it.
#[unsafe(no_mangle)]
static NEW_FLOW_LIMIT: Limit = Limit::NONE;

/// How many places of [`RECENT`] each CPU has, a power of two, less one. The loader writes it.
#[unsafe(no_mangle)]
static RECENT_MASK: u32 = 0;

/// What a program keeps for itself on this CPU.
pub struct Scratch {
    /// The packet at hand.
    pub packet: Packet,
    /// When it is looked at.
    pub now: Now,
    /// The kernel's timer ticks when the clock was last read.
    ticks: u64,
}

impl Scratch {
    /// This CPU's.
    pub fn here() -> Option<&'static mut Self> {
        let scratch = SCRATCH.get_ptr_mut(0)?;
        // SAFETY: a valid element, this CPU's own, and each program asks once. Zero and whatever a program wrote are valid.
        Some(unsafe { &mut *scratch })
    }

    /// Another packet is at hand. The boot clock is that of the last timer tick: ticks are memory that a program may read, the
    /// clock is a call and a register of the processor, and nothing here is decided by milliseconds.
    pub fn begin(&mut self) {
        self.now.state = Maps.state();
        // SAFETY: the helper takes no arguments and is there since Linux 5.5.
        let ticks = unsafe { bpf_jiffies64() };
        if ticks != self.ticks || self.now.ns == 0 {
            self.ticks = ticks;
            // SAFETY: the helper takes no arguments and is there since Linux 5.8.
            self.now.ns = unsafe { bpf_ktime_get_boot_ns() };
        }
    }
}

/// Tells whoever listens; nobody has to.
///
/// False where there is no room because nobody has listened.
pub fn tell(event: Event) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else { return false };
    entry.write(event);
    entry.submit(0);
    true
}

/// A word that the daemon may store at any time.
fn word(position: u32) -> State {
    match STATE.get_ptr(position) {
        // SAFETY: the map hands out a valid pointer. Volatile: a packet must see one generation.
        Some(state) => unsafe { core::ptr::read_volatile(state) },
        None => State::default(),
    }
}

/// The maps above, as the engine asks them.
pub struct Maps;

impl Tables for Maps {
    fn state(&self) -> State {
        word(state::LIVE)
    }

    fn excluded(&self) -> u32 {
        word(state::EXCLUDED).0 as u32
    }

    fn peer(&self, key: &PeerKey) -> Option<u32> {
        // SAFETY: elements are recycled, so the value may change under us; the profile repeats the index.
        unsafe { PEERS.get(key) }.map(|value| value.peer)
    }

    fn profile(&self, bank: u32, peer: u32) -> Option<Profile> {
        PROFILES.get(bank * MAX_PEERS + peer).copied()
    }

    fn class(&self, key: &DestKey) -> Option<u32> {
        // SAFETY: elements are recycled, but those of a live set are not deleted.
        match unsafe { HOSTS.get(key) } {
            Some(class) => Some(*class),
            None => DEST.get(Key::new(DestKey::BITS, *key)).copied(),
        }
    }

    fn ports(&self, key: &PortsKey) -> Option<PortsValue> {
        // SAFETY: elements are recycled, but those of a live class are not deleted.
        match unsafe { SINGLE_PORTS.get(key) } {
            Some(value) => Some(*value),
            None => PORTS.get(Key::new(PortsKey::BITS, *key)).copied(),
        }
    }

    fn flow<R>(&self, key: &FlowKey, look: impl FnOnce(&mut FlowValue) -> R) -> Option<R> {
        let value = FLOWS.get_ptr_mut(key)?;
        // SAFETY: a valid element of the map. Another CPU may write the same fields; each is one aligned word, and
        // either's value is right.
        Some(look(unsafe { &mut *value }))
    }

    fn recent<R>(&self, place: u64, look: impl FnOnce(&mut Recent) -> R) -> Option<R> {
        // SAFETY: the static lives in the read-only section; volatile, as the loader writes it.
        let mask = unsafe { core::ptr::read_volatile(&raw const RECENT_MASK) };
        // SAFETY: the helper takes no arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        // Of a CPU beyond those that the loader knew there is none.
        let recent = RECENT.get_ptr_mut(cpu * (mask + 1) + (place as u32 & mask))?;
        // SAFETY: a valid element, and this CPU's own: its programs run one after the other.
        Some(look(unsafe { &mut *recent }))
    }

    fn insert_flow(&self, key: &FlowKey, value: &FlowValue) {
        // A full map evicts; should it fail all the same, the peer's next packet tries again.
        let _ = FLOWS.insert(key, value, 0);
    }

    fn remove_flow(&self, key: &FlowKey) {
        let _ = FLOWS.remove(key);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentValue> {
        // SAFETY: should the element be recycled while it is copied, another datagram's ports are taken for this one's:
        // ports that the sender was admitted to as well, or policy is asked about them.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    fn insert_fragment(&self, key: &FragmentKey, value: &FragmentValue) {
        // Without it later fragments are dropped.
        let _ = FRAGMENTS.insert(key, value, 0);
    }

    fn usage<R>(&self, peer: u32, look: impl FnOnce(&mut Usage) -> R) -> Option<R> {
        let usage = USAGE.get_ptr_mut(if peer == NOBODY { MAX_PEERS } else { peer })?;
        // SAFETY: a valid element; another CPU may write the same aligned words, and either's value will do.
        Some(look(unsafe { &mut *usage }))
    }

    fn new_flow_limit(&self) -> Limit {
        // SAFETY: the static lives in the read-only section; volatile, as the loader writes it.
        unsafe { core::ptr::read_volatile(&raw const NEW_FLOW_LIMIT) }
    }
}

/// A packet to be counted.
pub struct Count {
    /// Which way it goes.
    pub direction: Direction,
    /// Segments.
    pub packets: u64,
    /// Bytes of all segments.
    pub bytes: u64,
}

impl Count {
    /// Counts a packet that goes on.
    pub fn passed(&self, peer: u32) {
        with_counters(peer, |counters| match self.direction {
            Direction::Ingress => self.received(counters),
            Direction::Egress => {
                counters.sent_packets += self.packets;
                counters.sent_bytes += self.bytes;
            }
        });
    }

    /// Counts a packet that ends here.
    pub fn dropped(&self, peer: u32, reason: Reason) {
        if let Some(drops) = DROPS.get_ptr_mut(drop_index(reason, self.direction)) {
            // SAFETY: a valid element, and this CPU's own.
            unsafe { *drops += self.packets }
        }
        with_counters(peer, |counters| {
            if matches!(self.direction, Direction::Ingress) {
                self.received(counters);
            }
            // The compiler knows that the type is in bounds and drops the check; the verifier wants to see it.
            if let Some(drops) = counters.drops.get_mut(core::hint::black_box(reason as usize)) {
                *drops += self.packets;
            }
        });
    }

    /// Counts a packet that a rule, or the absence of one, has decided on.
    pub fn decided(&self, verdict: &Verdict) {
        let Some(counters) = RULE_COUNTERS.get_ptr_mut(verdict.slot) else { return };
        // SAFETY: a valid element, and this CPU's own.
        let counters = unsafe { &mut *counters };
        match verdict.dropped {
            None => {
                counters.allowed_packets += self.packets;
                counters.allowed_bytes += self.bytes;
            }
            Some(Reason::NoRule | Reason::Excluded | Reason::RuleDeny) => {
                counters.denied_packets += self.packets;
                counters.denied_bytes += self.bytes;
            }
            // Nobody asked a rule.
            Some(_) => {}
        }
    }

    fn received(&self, counters: &mut PeerCounters) {
        counters.received_packets += self.packets;
        counters.received_bytes += self.bytes;
    }
}

/// Of nobody there are no counters: the index is beyond the map.
fn with_counters(peer: u32, count: impl FnOnce(&mut PeerCounters)) {
    if let Some(counters) = PEER_COUNTERS.get_ptr_mut(peer) {
        // SAFETY: a valid element, and this CPU's own.
        count(unsafe { &mut *counters });
    }
}
