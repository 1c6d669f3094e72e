//! A packet that may be joined with its neighbours, and what two of them must have in common.

use super::super::{
    ACK, DO_NOT_FRAGMENT, PSH, Protocol, TCP_FLAGS, UDP_CHECKSUM, UDP_HEADER, addresses, fold, pseudo_header,
    read_u16, read_u32, sum,
};

/// A TCP packet or datagram without anything unusual about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) protocol: Protocol,
    /// Where its header begins.
    pub(super) transport: usize,
    /// Where the payload begins.
    pub(super) payload: usize,
    /// Bytes of the payload.
    pub(super) size: usize,
    /// Of TCP.
    flags: u8,
}

impl Segment {
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let (transport, next) = match packet.first()? {
            // Without options, and no fragment.
            0x45 if packet.len() >= 28 && read_u16(packet, 6) & !DO_NOT_FRAGMENT == 0 => {
                (usize::from(read_u16(packet, 2)) == packet.len()).then_some((20, packet[9]))?
            }
            first if first >> 4 == 6 && packet.len() >= 48 => {
                (usize::from(read_u16(packet, 4)) + 40 == packet.len()).then_some((40, packet[6]))?
            }
            _ => return None,
        };
        if next == Protocol::Tcp.number() {
            Self::tcp(packet, transport)
        } else if next == Protocol::Udp.number() {
            Self::udp(packet, transport)
        } else {
            None
        }
    }

    fn tcp(packet: &[u8], transport: usize) -> Option<Self> {
        let offset = *packet.get(transport + 12)?;
        let payload = transport + usize::from(offset >> 4) * 4;
        // The bits beside the offset are reserved, or of an experiment with ECN.
        if offset & 0x0f != 0 || payload < transport + 20 || payload > packet.len() {
            return None;
        }
        let (size, flags) = (packet.len() - payload, packet[transport + TCP_FLAGS]);
        Some(Self { protocol: Protocol::Tcp, transport, payload, size, flags })
    }

    fn udp(packet: &[u8], transport: usize) -> Option<Self> {
        let payload = transport + UDP_HEADER;
        let length = usize::from(read_u16(packet, transport + 4));
        if length != packet.len() - transport {
            return None;
        }
        Some(Self { protocol: Protocol::Udp, transport, payload, size: packet.len() - payload, flags: 0 })
    }

    /// Whether it can be one of several at all: it carries something, and asks for nothing.
    pub(super) fn may_be_joined(&self, packet: &[u8]) -> bool {
        self.size > 0
            && match self.protocol {
                Protocol::Tcp => self.flags & !PSH == ACK,
                // Cut, each would have a checksum.
                Protocol::Udp => read_u16(packet, self.transport + UDP_CHECKSUM) != 0,
            }
    }

    /// Whether it asks to be delivered at once.
    pub(super) const fn is_pushed(&self) -> bool {
        self.flags & PSH != 0
    }

    /// The number of its first byte in its stream; datagrams have none.
    pub(super) fn sequence(&self, packet: &[u8]) -> u32 {
        match self.protocol {
            Protocol::Tcp => read_u32(packet, self.transport + 4),
            Protocol::Udp => 0,
        }
    }

    /// That of what comes after it.
    pub(super) fn next_sequence(&self, packet: &[u8]) -> u32 {
        match self.protocol {
            Protocol::Tcp => self.sequence(packet).wrapping_add(self.size as u32),
            Protocol::Udp => 0,
        }
    }

    /// The same protocol, addresses and ports.
    pub(super) fn same_stream(&self, of_self: &[u8], other: &Self, of_other: &[u8]) -> bool {
        self.transport == other.transport
            && self.protocol == other.protocol
            && of_self[self.transport..][..4] == of_other[other.transport..][..4]
            && addresses(&of_self[..self.transport]) == addresses(&of_other[..other.transport])
    }

    /// Everything else that all packets of a frame share: what the kernel copies to each when it cuts.
    pub(super) fn same_headers(&self, a: &[u8], b: &[u8]) -> bool {
        let Self { transport, payload, .. } = *self;
        let same = |from: usize, to: usize| a[from..to] == b[from..to];
        // IPv4: version, type of service; fragmentation, time to live. IPv6: all but the length.
        let network = if transport == 20 { same(0, 2) && same(6, 10) } else { same(0, 4) && same(6, 8) };
        network
            && match self.protocol {
                Protocol::Tcp => {
                    a[transport + 12] == b[transport + 12]
                        && same(transport + 8, transport + 12)
                        && same(transport + 14, transport + 16)
                        && same(transport + 18, payload)
                }
                Protocol::Udp => true,
            }
    }

    /// Whether the checksums of the packet are right.
    pub(super) fn is_right(&self, packet: &[u8]) -> bool {
        let (network, rest) = packet.split_at(self.transport);
        let pseudo = pseudo_header(network, self.protocol, rest.len());
        (self.transport == 40 || fold(sum(network)) == u16::MAX) && fold(pseudo + sum(rest)) == u16::MAX
    }
}
