//! Keys and values of the BPF maps.
//!
//! Everything that a longest-prefix match compares is a big-endian byte array; no struct has padding, and the
//! sizes are asserted, because user space hands these bytes to the kernel as they are.

use crate::packet::{ICMP, ICMPV6};
use crate::reason::MAX_REASONS;

/// Most peers that a gateway serves: the range of a peer index.
pub const MAX_PEERS: u32 = 16_384;

/// Most rules of one policy. Two policies, and a rest that waits before it is given again, fit into the slots.
pub const MAX_RULES: u32 = RULE_SLOTS / 2 - 2;

/// Positions in the RULE_COUNTERS map, unless a gateway is told to count fewer rules apart. What rules count is dense
/// there, whatever their numbers are.
pub const RULE_SLOTS: u32 = 1 << 18;

/// Positions that policies of up to `max_rules` rules need.
pub const fn rule_slots(max_rules: u32) -> u32 {
    2 * (max_rules + 2)
}

/// Where packets are counted that no rule speaks of.
pub const DEFAULT_DENY_SLOT: u32 = 0;

/// Where packets are counted that are admitted without a rule.
pub const IMPLICIT_SLOT: u32 = 1;

/// Positions in the STATE map.
pub mod state {
    /// The [`super::State`]: which generation is live.
    pub const LIVE: u32 = 0;
    /// The set of what no resource covers, [`super::EMPTY_SET`] before the first policy. Programs read it apart from the
    /// generation: around a swap a packet may be refused for a reason of the other one.
    pub const EXCLUDED: u32 = 1;
    /// How many there are.
    pub const COUNT: u32 = 2;
}

/// The set of a peer for whom no rule speaks. Never in the DEST map.
pub const EMPTY_SET: u32 = 0;

/// The greatest number of a set; the family takes a bit of the key's word.
pub const MAX_SET: u32 = u32::MAX >> 1;

/// The class of a destination that nothing is granted on. Never in the PORTS map.
pub const EMPTY_CLASS: u32 = 0;

/// Names of the maps, as the object declares them and as they are pinned.
pub mod map {
    /// [`super::state`] → a word.
    pub const STATE: &str = "STATE";
    /// [`super::PeerKey`] → [`super::PeerValue`].
    pub const PEERS: &str = "PEERS";
    /// Bank · [`super::MAX_PEERS`] + peer index → [`super::Profile`].
    pub const PROFILES: &str = "PROFILES";
    /// [`super::DestKey`] → class, for prefixes that are whole addresses.
    pub const HOSTS: &str = "HOSTS";
    /// Prefix over [`super::DestKey`] → class.
    pub const DEST: &str = "DEST";
    /// [`super::PortsKey`] → [`super::PortsValue`], for prefixes that are single ports.
    pub const SINGLE_PORTS: &str = "SINGLE_PORTS";
    /// Prefix over [`super::PortsKey`] → [`super::PortsValue`].
    pub const PORTS: &str = "PORTS";
    /// [`super::FlowKey`] → [`super::FlowValue`].
    pub const FLOWS: &str = "FLOWS";
    /// [`crate::engine::Recent`], as many for each CPU.
    pub const RECENT: &str = "RECENT";
    /// Peer index → [`super::PeerCounters`], per CPU.
    pub const PEER_COUNTERS: &str = "PEER_COUNTERS";
    /// Slot of a rule → [`super::RuleCounters`], per CPU.
    pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
    /// [`super::drop_index`] → packets, per CPU.
    pub const DROPS: &str = "DROPS";
    /// [`super::FragmentKey`] → [`super::FragmentValue`].
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Peer index → [`super::Usage`], and one more for what is nobody's.
    pub const USAGE: &str = "USAGE";
    /// Ring buffer of [`super::Event`].
    pub const EVENTS: &str = "EVENTS";
}

/// IP version, as maps key it. Part of every key, so that no IPv6 prefix ever speaks of IPv4.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4; addresses take the first four of sixteen bytes.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// Direction of a packet, seen from the peer: what it sends is ingress on wg0.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the peer.
    Ingress = 0,
    /// To the peer.
    Egress = 1,
}

/// Which bank of profiles is live, and which generation that is: one word, so that one store swaps both.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State(pub u64);

impl State {
    /// Generation `generation` in its bank: generations alternate between the two.
    pub const fn new(generation: u64) -> Self {
        Self(generation)
    }

    /// 0 or 1.
    pub const fn bank(self) -> u32 {
        (self.0 & 1) as u32
    }

    /// The generation; 0 before the first swap, when every profile is empty.
    pub const fn generation(self) -> u64 {
        self.0
    }
}

/// A source or destination inside the tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// A [`Family`].
    pub family: u32,
    /// IPv4 in the first four bytes.
    pub address: [u8; 16],
}

/// Whose address it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerValue {
    /// Peer index, below [`MAX_PEERS`].
    pub peer: u32,
}

/// What a peer may do: its two policy sets, and for how long.
///
/// All zero means that nobody is there: such a profile belongs to no peer, because its lease has run out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The peer index again. Elements are recycled while a program may hold them; this tells.
    pub peer: u32,
    /// The set of the peer's combination of groups.
    pub shared: u32,
    /// The set of the peer alone.
    pub own: u32,
    /// The generation in which the peer came to its addresses, or in which its flows were ended although its sets stay. With
    /// the index it names one hold of one device on its addresses, ever: a flow that has both is of that hold.
    pub epoch: u32,
    /// Boot clock, nanoseconds; from then on every packet is dropped.
    pub lease_until_ns: u64,
}

/// Set, family and destination, in this order: a set's entries must be told apart before their addresses are.
///
/// Set and family share a word, so that a node of the trie fits into one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestKey {
    /// Twice the number of the set, and one more for IPv6; big-endian.
    set_and_family: [u8; 4],
    /// IPv4 in the first four bytes.
    pub address: [u8; 16],
}

impl DestKey {
    /// The key of an address in a set whose number is at most [`MAX_SET`].
    pub const fn new(set: u32, family: Family, address: [u8; 16]) -> Self {
        let v6 = matches!(family, Family::V6) as u32;
        Self { set_and_family: (set << 1 | v6).to_be_bytes(), address }
    }

    /// The bytes that a longest-prefix match compares.
    pub const fn to_bytes(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        let (head, tail) = bytes.split_at_mut(4);
        head.copy_from_slice(&self.set_and_family);
        tail.copy_from_slice(&self.address);
        bytes
    }

    /// The key of these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        let (mut set_and_family, mut address) = ([0; 4], [0; 16]);
        let (head, tail) = bytes.split_at(4);
        set_and_family.copy_from_slice(head);
        address.copy_from_slice(tail);
        Self { set_and_family, address }
    }

    /// The family.
    pub const fn family(&self) -> Family {
        if self.set_and_family[3] & 1 == 1 { Family::V6 } else { Family::V4 }
    }

    /// The number of the set.
    pub const fn set(&self) -> u32 {
        u32::from_be_bytes(self.set_and_family) >> 1
    }

    /// Bits before the address: always part of a prefix.
    pub const FIXED_BITS: u32 = 32;
    /// A prefix length that covers the whole key.
    pub const BITS: u32 = Self::FIXED_BITS + 128;
}

/// Class, protocol and port, in this order: ports differ by protocol, and a prefix of 32 bits is every protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortsKey {
    /// Big-endian.
    pub class: [u8; 4],
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type and code, big-endian; 0 for protocols that have neither.
    pub port: [u8; 2],
}

impl PortsKey {
    /// The prefix that speaks of every protocol.
    pub const CLASS_BITS: u32 = 32;
    /// The prefix that speaks of every port of one protocol.
    pub const PROTOCOL_BITS: u32 = 40;
    /// A prefix length that covers the whole key.
    pub const BITS: u32 = 56;
}

/// [`PortsValue::verdict`]: nothing is said. Never in the map.
pub const SILENT: u32 = 0;
/// [`PortsValue::verdict`]: admit; after [`PortsValue::not_after_ns`] refuse.
pub const ALLOW: u32 = 1;
/// [`PortsValue::verdict`]: refuse, also after [`PortsValue::not_after_ns`].
pub const DENY: u32 = 2;
/// [`PortsValue::verdict`]: admit; after [`PortsValue::not_after_ns`] nothing is said, so that another set may admit.
pub const ALLOW_LAPSING: u32 = 3;

const VERDICT_BITS: u32 = 2;

/// The final word on a class, protocol and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortsValue {
    /// Where the rule's packets are counted, and below that two bits of verdict.
    word: u32,
    /// Number of the rule that decides; 0 for what is implicit.
    pub rule: u32,
    /// Boot clock, nanoseconds: the verdict holds before, afterwards everything is refused. `u64::MAX` is for ever.
    pub not_after_ns: u64,
}

impl PortsValue {
    /// The word of `rule`, counted at `slot`: [`ALLOW`], [`DENY`], [`ALLOW_LAPSING`] or [`SILENT`].
    pub const fn new(verdict: u32, slot: u32, rule: u32, not_after_ns: u64) -> Self {
        Self { word: slot << VERDICT_BITS | verdict, rule, not_after_ns }
    }

    /// What is said.
    pub const fn verdict(&self) -> u32 {
        self.word & ((1 << VERDICT_BITS) - 1)
    }

    /// Where the rule's packets are counted.
    pub const fn slot(&self) -> u32 {
        self.word >> VERDICT_BITS
    }
}

/// Who began a conversation, with whom. For ICMP echo the source port is the identifier and the destination port
/// the request's type and code.
// Aligned, so that it is copied and compared by words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Who began.
    pub source: [u8; 16],
    /// Whom it addressed.
    pub destination: [u8; 16],
    /// Big-endian.
    pub source_port: [u8; 2],
    /// Big-endian.
    pub destination_port: [u8; 2],
    /// A [`Family`].
    pub family: u8,
    /// IANA protocol number.
    pub protocol: u8,
    /// 1 for ICMP from who did not begin, else 0: an echo *request* from the other side never looks like a reply,
    /// also where its identifier reads like type and code of one.
    pub answers: u8,
    /// Always zero.
    pub zero: u8,
}

impl FlowKey {
    /// Its family; anything that is not 6 is IPv4.
    pub const fn family(&self) -> Family {
        if self.family == Family::V6 as u8 { Family::V6 } else { Family::V4 }
    }

    /// The same bytes in words.
    pub const fn words(&self) -> &[u64; 5] {
        // SAFETY: as many bytes without padding, aligned for words, all of whose bits mean something.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// The same conversation, seen from the other end.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            family: self.family,
            protocol: self.protocol,
            answers: match self.protocol {
                ICMP | ICMPV6 => self.answers ^ 1,
                _ => 0,
            },
            zero: 0,
        }
    }
}

/// Only the peer has spoken.
pub const FLOW_NEW: u32 = 0;
/// Both have.
pub const FLOW_ANSWERED: u32 = 1;
/// TCP: one of them has closed or reset.
pub const FLOW_CLOSING: u32 = 2;

const PHASE_BITS: u32 = 2;

/// A conversation that was allowed, under which policy, and when it was last heard.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowValue {
    /// Peer index of who began.
    pub peer: u32,
    /// [`Profile::shared`] when it was decided.
    pub shared: u32,
    /// [`Profile::own`] when it was decided.
    pub own: u32,
    /// [`Profile::epoch`] when it was decided.
    pub epoch: u32,
    /// Number of the rule that allowed it.
    pub rule: u32,
    /// The slot of the rule that allowed it, and below that two bits of phase.
    pub word: u32,
    /// Boot clock, nanoseconds: when it was last heard, to within a second.
    pub seen_ns: u64,
    /// [`PortsValue::not_after_ns`] of the verdict that allowed it.
    pub not_after_ns: u64,
}

impl FlowValue {
    /// [`FlowValue::word`] of a slot and a phase.
    pub const fn word(slot: u32, phase: u32) -> u32 {
        slot << PHASE_BITS | phase
    }

    /// The phase in a [`FlowValue::word`].
    pub const fn phase_of(word: u32) -> u32 {
        word & ((1 << PHASE_BITS) - 1)
    }

    /// The slot in a [`FlowValue::word`].
    pub const fn slot_of(word: u32) -> u32 {
        word >> PHASE_BITS
    }

    /// [`FLOW_NEW`], [`FLOW_ANSWERED`] or [`FLOW_CLOSING`].
    pub const fn phase(&self) -> u32 {
        Self::phase_of(self.word)
    }

    /// [`PortsValue::slot`] of the verdict that allowed it.
    pub const fn slot(&self) -> u32 {
        Self::slot_of(self.word)
    }
}

/// Which datagram a fragment is of, and which way that goes (RFC 791 §2.3, RFC 8200 §4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// Who sends it.
    pub source: [u8; 16],
    /// To whom.
    pub destination: [u8; 16],
    /// The sender's number for it.
    pub id: u32,
    /// A [`Family`].
    pub family: u8,
    /// IANA protocol number; 0 in IPv6, where only the first fragment says it.
    pub protocol: u8,
    /// A [`Direction`].
    pub direction: u8,
    /// Always zero.
    pub zero: u8,
}

/// What later fragments do not say: where an admitted first fragment was going.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentValue {
    /// Boot clock, nanoseconds: later fragments pass before.
    pub until_ns: u64,
    /// Big-endian.
    pub source_port: [u8; 2],
    /// Big-endian.
    pub destination_port: [u8; 2],
    /// IANA protocol number.
    pub protocol: u8,
    /// 1 where it answers and begins nothing, as an echo reply; else 0.
    pub answers: u8,
    /// Always zero.
    pub zero: [u8; 2],
}

/// How much of what is limited a peer has used: for each, the time up to which it is used up (a virtual scheduling clock, as
/// in ITU-T I.371).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// New flows; boot clock, nanoseconds.
    pub new_flows_ns: u64,
    /// Events about drops; boot clock, nanoseconds.
    pub drop_events_ns: u64,
    /// Events about new flows; boot clock, nanoseconds.
    pub flow_events_ns: u64,
    /// Events about drops that were not told since the last that was.
    pub untold_drops: u32,
    /// The same of new flows.
    pub untold_flows: u32,
}

/// [`Event::what`] of a flow that began; every other value is a [`crate::reason::Reason`].
pub const FLOW_BEGAN: u32 = u32::MAX;

/// What a program tells of one packet that it dropped, or of a flow that it began.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Boot clock, nanoseconds.
    pub boot_ns: u64,
    /// The generation that decided.
    pub generation: u64,
    /// Peer index; [`crate::engine::NOBODY`] where that is unknown.
    pub peer: u32,
    /// Number of the rule that decided; 0 where none did.
    pub rule: u32,
    /// Why it was dropped, or [`FLOW_BEGAN`].
    pub what: u32,
    /// A [`Direction`].
    pub direction: u32,
    /// Bytes of IP.
    pub length_bytes: u32,
    /// Events of this peer and kind, drops or new flows, that were not told since the last that was: there were too many, or
    /// nobody has made room for them.
    pub untold: u32,
    /// As the packet had it, as far as it could be read: family 0 where not even addresses could.
    pub tuple: FlowKey,
}

/// What one CPU counted of one peer. Packets are segments: a GSO packet counts as what leaves the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Packets from the peer, dropped ones too.
    pub received_packets: u64,
    /// Bytes of IP from the peer, dropped ones too.
    pub received_bytes: u64,
    /// Packets admitted to the peer.
    pub sent_packets: u64,
    /// Bytes of IP admitted to the peer.
    pub sent_bytes: u64,
    /// Packets from and to the peer that were dropped, by [`crate::reason::Reason`].
    pub drops: [u64; MAX_REASONS],
}

/// What one CPU counted of one rule, in both directions. Packets are segments, bytes those of IP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounters {
    /// Packets that the rule let pass, those on its flows too.
    pub allowed_packets: u64,
    /// Their bytes.
    pub allowed_bytes: u64,
    /// Packets that the rule refused.
    pub denied_packets: u64,
    /// Their bytes.
    pub denied_bytes: u64,
}

/// Position in the DROPS map.
pub const fn drop_index(reason: crate::reason::Reason, direction: Direction) -> u32 {
    reason as u32 * 2 + direction as u32
}

/// Positions in the DROPS map.
pub const DROP_COUNTERS: u32 = MAX_REASONS as u32 * 2;

macro_rules! sizes {
    ($($type:ty = $size:literal, align $align:literal;)*) => {
        $(const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);)*
    };
}

sizes! {
    State = 8, align 8;
    PeerKey = 20, align 4;
    PeerValue = 4, align 4;
    Profile = 24, align 8;
    DestKey = 20, align 1;
    PortsKey = 7, align 1;
    PortsValue = 16, align 8;
    FlowKey = 40, align 8;
    FlowValue = 40, align 8;
    FragmentKey = 40, align 4;
    FragmentValue = 16, align 8;
    Usage = 32, align 8;
    Event = 80, align 8;
    PeerCounters = 160, align 8;
    RuleCounters = 32, align 8;
}
