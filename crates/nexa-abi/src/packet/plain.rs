//! What most packets are: whole, of TCP or UDP, in the middle of a conversation.

use super::{Bytes, Kind, Packet, Part, TCP, TCP_FIN, TCP_RST, TCP_SYN, UDP};
use crate::layout::{Family, FlowKey, PeerKey};

/// A packet with nothing out of the ordinary. [`super::parse`] reads it as [`super::Kind::Plain`] and [`super::Part::Whole`],
/// and comes to the same tuple and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Addresses and ports from sender to receiver.
    pub tuple: FlowKey,
    /// Bytes of IP and transport headers.
    pub header_bytes: u32,
}

/// Reads a packet, if it is a plain one: by words, for the sake of those that are.
// Everything inline: what is read stays in registers.
#[inline(always)]
pub fn read_plain<B: Bytes + ?Sized>(bytes: &B) -> Option<Plain> {
    let [start] = bytes.peek::<1>()?;
    let (family, protocol, addresses, ports, at) = match start.to_ne_bytes()[0] {
        // A header of twenty bytes, and that of UDP: the shorter one of the two that may follow.
        0x45 => {
            let [_, fragment, protocol, from, to, ports, _] = bytes.peek::<7>()?;
            let [_, _, flags_and_offset, offset] = fragment.to_ne_bytes();
            // Neither an offset nor more to follow.
            if flags_and_offset & 0x3f != 0 || offset != 0 {
                return None;
            }
            let addresses = [[from, 0, 0, 0], [to, 0, 0, 0]];
            (Family::V4, protocol.to_ne_bytes()[1], addresses, ports, 20)
        }
        0x60..0x70 => {
            let [_, next, a, b, c, d, e, f, g, h, ports, _] = bytes.peek::<12>()?;
            (Family::V6, next.to_ne_bytes()[2], [[a, b, c, d], [e, f, g, h]], ports, 40)
        }
        _ => return None,
    };
    let header_bytes = match protocol {
        UDP => at + 8,
        TCP => {
            let word = if at == 20 { bytes.peek::<9>()?[8] } else { bytes.peek::<14>()?[13] };
            let [length, flags, ..] = word.to_ne_bytes();
            let header_bytes = u32::from(length >> 4) * 4;
            if flags & (TCP_FIN | TCP_SYN | TCP_RST) != 0 || header_bytes < 20 {
                return None;
            }
            at + header_bytes
        }
        _ => return None,
    };
    if header_bytes > bytes.len() {
        return None;
    }
    let [source, destination] = addresses.map(octets);
    let [a, b, c, d] = ports.to_ne_bytes();
    let (source_port, destination_port, family) = ([a, b], [c, d], family as u8);
    let tuple =
        FlowKey { source, destination, source_port, destination_port, family, protocol, answers: 0, zero: 0 };
    Some(Plain { tuple, header_bytes })
}

impl Packet {
    /// Becomes what [`super::parse`] reads of a plain packet.
    #[inline(always)]
    pub fn become_plain(&mut self, plain: &Plain) {
        let Plain { tuple, header_bytes } = *plain;
        self.tuple = tuple;
        self.source = PeerKey { family: tuple.family.into(), address: tuple.source };
        self.destination = PeerKey { family: tuple.family.into(), address: tuple.destination };
        self.kind = Kind::Plain;
        self.part = Part::Whole;
        self.fragment_offset = 0;
        self.fragment_id = 0;
        self.header_bytes = header_bytes;
    }
}

#[inline(always)]
const fn octets(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: as many bytes, all of whose bits mean something.
    unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) }
}
