//! Keys and values of the BPF maps.
//!
//! Everything that a longest-prefix match compares is a big-endian byte array; no struct has padding, and the
//! sizes are asserted, because user space hands these bytes to the kernel as they are.

use crate::reason::MAX_REASONS;

/// Most peers that a gateway serves: the range of a peer index.
pub const MAX_PEERS: u32 = 16_384;

/// Most rules of one policy. Two policies, and a rest that waits before it is given again, fit into the slots.
pub const MAX_RULES: u32 = RULE_SLOTS as u32 / 2 - 2;

/// Positions in the RULE_COUNTERS map. What rules count is dense there, whatever their numbers are.
pub const RULE_SLOTS: u16 = 1 << 15;

/// Where packets are counted that no rule speaks of.
pub const DEFAULT_DENY_SLOT: u16 = 0;

/// Where packets are counted that are admitted without a rule.
pub const IMPLICIT_SLOT: u16 = 1;

/// The set of a peer for whom no rule speaks. Never in the DEST map.
pub const EMPTY_SET: u32 = 0;

/// The class of a destination that nothing is granted on. Never in the PORTS map.
pub const EMPTY_CLASS: u32 = 0;

/// Names of the maps, as the object declares them and as they are pinned.
pub mod map {
    /// One [`super::State`].
    pub const STATE: &str = "STATE";
    /// [`super::PeerKey`] → [`super::PeerValue`].
    pub const PEERS: &str = "PEERS";
    /// Bank · [`super::MAX_PEERS`] + peer index → [`super::Profile`].
    pub const PROFILES: &str = "PROFILES";
    /// Prefix over [`super::DestKey`] → class.
    pub const DEST: &str = "DEST";
    /// Prefix over [`super::PortsKey`] → [`super::PortsValue`].
    pub const PORTS: &str = "PORTS";
    /// [`super::FlowKey`] → [`super::FlowValue`].
    pub const FLOWS: &str = "FLOWS";
    /// Peer index → [`super::PeerCounters`], per CPU.
    pub const PEER_COUNTERS: &str = "PEER_COUNTERS";
    /// Slot of a rule → [`super::RuleCounters`], per CPU.
    pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
    /// [`super::drop_index`] → packets, per CPU.
    pub const DROPS: &str = "DROPS";
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Raised to end the peer's flows although its sets stay.
    pub epoch: u32,
    /// Boot clock, nanoseconds; from then on every packet is dropped.
    pub lease_until_ns: u64,
}

/// Set, family and destination, in this order: a set's entries must be told apart before their addresses are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestKey {
    /// Big-endian.
    pub set: [u8; 4],
    /// A [`Family`].
    pub family: u8,
    /// IPv4 in the first four bytes.
    pub address: [u8; 16],
}

impl DestKey {
    /// Bits before the address: always part of a prefix.
    pub const FIXED_BITS: u32 = 40;
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

/// [`PortsValue::verdict`]: admit.
pub const ALLOW: u16 = 1;
/// [`PortsValue::verdict`]: refuse. Any other value refuses too.
pub const DENY: u16 = 2;
/// [`PortsValue::verdict`]: nothing is said. Never in the map.
pub const SILENT: u16 = 0;

/// The final word on a class, protocol and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortsValue {
    /// [`ALLOW`] or [`DENY`].
    pub verdict: u16,
    /// Where the rule's packets are counted. Version 0.1 had a verdict of four bytes here: its entries count as nobody's
    /// until the first swap.
    pub slot: u16,
    /// Number of the rule that decides; 0 for what is implicit.
    pub rule: u32,
    /// Boot clock, nanoseconds: the verdict holds before, afterwards everything is refused. `u64::MAX` is for ever.
    pub not_after_ns: u64,
}

/// Who began a conversation, with whom. For ICMP echo the source port is the identifier and the destination port
/// the request's type and code, so that an echo *request* from the other side never looks like a reply.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Always zero.
    pub zero: [u8; 2],
}

impl FlowKey {
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
            zero: [0; 2],
        }
    }
}

/// Only the peer has spoken.
pub const FLOW_NEW: u16 = 0;
/// Both have.
pub const FLOW_ANSWERED: u16 = 1;
/// TCP: one of them has closed or reset.
pub const FLOW_CLOSING: u16 = 2;

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
    /// [`FLOW_NEW`], [`FLOW_ANSWERED`] or [`FLOW_CLOSING`].
    pub phase: u16,
    /// [`PortsValue::slot`] of the verdict that allowed it.
    pub slot: u16,
    /// Boot clock, nanoseconds: when it was last heard, to within a second.
    pub seen_ns: u64,
    /// [`PortsValue::not_after_ns`] of the verdict that allowed it.
    pub not_after_ns: u64,
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
    DestKey = 21, align 1;
    PortsKey = 7, align 1;
    PortsValue = 16, align 8;
    FlowKey = 40, align 1;
    FlowValue = 40, align 8;
    PeerCounters = 160, align 8;
    RuleCounters = 32, align 8;
}
