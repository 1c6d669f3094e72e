//! Fragments: a later one goes where an admitted first one went.
//!
//! The first must hold the whole transport header, which the parser sees to. Its ports are noted once it is admitted, for
//! one direction, and a later fragment is then judged as a packet to these ports: by its flow, or by policy anew.

use super::{Now, Tables};
use crate::layout::{Direction, Family, FragmentKey, FragmentValue};
use crate::packet::{Kind, Packet, Part, TCP};

/// How long later fragments may follow the first: Linux gives up on a datagram after as long (net.ipv4.ipfrag_time).
const PATIENCE_NS: u64 = 30_000_000_000;

impl FragmentKey {
    /// The datagram that a fragment is of.
    const fn of(packet: &Packet, direction: Direction) -> Self {
        let v6 = packet.tuple.family == Family::V6 as u8;
        Self {
            source: packet.source.address,
            destination: packet.destination.address,
            id: packet.fragment_id,
            family: packet.tuple.family,
            protocol: if v6 { 0 } else { packet.tuple.protocol },
            direction: direction as u8,
            zero: 0,
        }
    }
}

/// Fills in what a later fragment does not say; whether its first one was admitted.
#[inline(never)]
pub fn complete<T: Tables>(tables: &T, packet: &mut Packet, direction: Direction, now: &Now) -> bool {
    let Some(first) = tables.fragment(&FragmentKey::of(packet, direction)) else { return false };
    // At offset 1 lie the flags of a TCP header (RFC 3128).
    if first.until_ns <= now.ns || (first.protocol == TCP && packet.fragment_offset == 1) {
        return false;
    }
    packet.tuple.protocol = first.protocol;
    packet.tuple.source_port = first.source_port;
    packet.tuple.destination_port = first.destination_port;
    packet.tuple.answers = first.answers;
    packet.kind = if first.answers == 0 { Kind::Plain } else { Kind::Reply };
    true
}

/// Notes where a first fragment that was admitted is going. Errors are never so long that they come in parts.
#[inline(never)]
pub fn note<T: Tables>(tables: &T, packet: &Packet, direction: Direction, now: &Now) {
    if matches!(packet.kind, Kind::Error) {
        return;
    }
    let value = FragmentValue {
        until_ns: now.ns + PATIENCE_NS,
        source_port: packet.tuple.source_port,
        destination_port: packet.tuple.destination_port,
        protocol: packet.tuple.protocol,
        answers: matches!(packet.kind, Kind::Reply) as u8,
        zero: [0; 2],
    };
    tables.insert_fragment(&FragmentKey::of(packet, direction), &value);
}

impl Packet {
    /// Whether ports have to be found first.
    pub(super) const fn is_later_fragment(&self) -> bool {
        matches!(self.part, Part::Later)
    }

    /// Whether others may follow that go where it goes.
    pub(super) const fn is_first_fragment(&self) -> bool {
        matches!(self.part, Part::First)
    }
}
