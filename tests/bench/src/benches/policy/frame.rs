//! Prepared frames: headers of packets that a policy speaks of.

use std::net::IpAddr;

use anyhow::{Result, bail};
use ipnet::IpNet;
use nexa_types::{Cidr, Protocol};
use nexa_wire::snapshot::{Snapshot, Traffic};

use super::entries::{Entries, Entry};

/// Bytes of a frame: those of Ethernet, IPv6 and TCP headers, in whole words.
pub(in crate::benches) const BYTES: usize = 80;
/// Bytes of an Ethernet header.
pub(in crate::benches) const L2_BYTES: u32 = 14;
/// The interface's address, to which frames go.
pub(in crate::benches) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The flag of TCP that opens a connection.
const SYN: u8 = 2;

/// A frame's bytes.
pub(in crate::benches) type Frame = [u8; BYTES];

/// Addresses and ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tuple {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
}

impl Tuple {
    /// A packet that an entry speaks of: of one of its peers, to an address of its prefix, and one of its ports.
    pub(super) fn of(
        snapshot: &Snapshot,
        entries: &Entries,
        entry: &Entry,
        rng: &mut fastrand::Rng,
    ) -> Result<Self> {
        let peer = &snapshot.peers[entries.peer_of(entry, rng)];
        let destination = address_in(entry.cidr, rng);
        let source = if destination.is_ipv4() { peer.v4.into() } else { peer.v6.into() };
        let (protocol, ports) = protocol_and_ports(entry.traffic)?;
        let (source_port, destination_port) = (rng.u16(1024..), rng.u16(ports.0..=ports.1));
        Ok(Self { source, destination, protocol, source_port, destination_port })
    }

    /// The way back.
    pub(super) const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }

    /// Whether it is UDP.
    pub(super) const fn is_udp(self) -> bool {
        self.protocol == UDP
    }

    /// The frame's bytes. UDP goes without a checksum, TCP as an opening with one that is wrong: nobody reads it.
    pub(super) fn frame(self) -> Frame {
        let mut frame = [0; BYTES];
        frame[..6].copy_from_slice(&MAC);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        let transport = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame[12..14].copy_from_slice(&[8, 0]);
                let length = u16::try_from(BYTES - 14).unwrap_or(u16::MAX).to_be_bytes();
                let mut header = [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, self.protocol, 0, 0];
                let sum = checksum(&[&header, &source.octets(), &destination.octets()]);
                header[10..12].copy_from_slice(&sum);
                frame[14..26].copy_from_slice(&header);
                frame[26..30].copy_from_slice(&source.octets());
                frame[30..34].copy_from_slice(&destination.octets());
                34
            }
            (source, destination) => {
                frame[12..14].copy_from_slice(&[0x86, 0xdd]);
                let length = u16::try_from(BYTES - 54).unwrap_or(u16::MAX).to_be_bytes();
                frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, length[0], length[1], self.protocol, 64]);
                frame[22..38].copy_from_slice(&v6_octets(source));
                frame[38..54].copy_from_slice(&v6_octets(destination));
                54
            }
        };
        frame[transport..transport + 2].copy_from_slice(&self.source_port.to_be_bytes());
        frame[transport + 2..transport + 4].copy_from_slice(&self.destination_port.to_be_bytes());
        if self.is_udp() {
            let length = u16::try_from(BYTES - transport).unwrap_or(u16::MAX);
            frame[transport + 4..transport + 6].copy_from_slice(&length.to_be_bytes());
        } else {
            frame[transport + 12] = 5 << 4;
            frame[transport + 13] = SYN;
        }
        frame
    }
}

/// The IANA number of an entry's protocol, and its ports.
pub(super) fn protocol_and_ports(traffic: Traffic) -> Result<(u8, (u16, u16))> {
    let protocol = match traffic.protocol() {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        other => bail!("the bench makes no packets of protocol {other}"),
    };
    let ports = traffic.ports().map_or((1, u16::MAX), |ports| (ports.first(), ports.last()));
    Ok((protocol, ports))
}

fn address_in(cidr: Cidr, rng: &mut fastrand::Rng) -> IpAddr {
    match cidr.net() {
        IpNet::V4(net) => {
            IpAddr::V4((u32::from(net.network()) | rng.u32(..) & u32::from(net.hostmask())).into())
        }
        IpNet::V6(net) => {
            IpAddr::V6((u128::from(net.network()) | rng.u128(..) & u128::from(net.hostmask())).into())
        }
    }
}

const fn v6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The checksum of an IPv4 header (RFC 1071), in parts of even length.
pub(in crate::benches) fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: &str, destination: &str, protocol: u8) -> Tuple {
        let address = |text: &str| text.parse().expect("an address");
        let (source, destination) = (address(source), address(destination));
        Tuple { source, destination, protocol, source_port: 0x1234, destination_port: 443 }
    }

    #[test]
    fn a_frame_is_a_packet_of_its_tuple() {
        for (source, destination, ports) in [("100.96.0.2", "10.1.2.3", 34), ("fd6e::2", "fd20::3", 54)] {
            for protocol in [TCP, UDP] {
                let frame = tuple(source, destination, protocol).frame();
                assert_eq!(frame[..6], MAC, "to the interface, else the kernel passes it over");
                assert_eq!(frame[ports..ports + 4], [0x12, 0x34, 1, 187]);
                let packet = nexa_abi::packet::parse(&frame[14..]).expect("our own parser reads it");
                assert_eq!((packet.tuple.protocol, packet.tuple.destination_port), (protocol, [1, 187]));
            }
        }
    }

    #[test]
    fn the_header_of_ipv4_sums_up_to_nothing() {
        let frame = tuple("100.96.0.2", "10.1.2.3", UDP).frame();
        assert_eq!(checksum(&[&frame[14..34]]), [0, 0], "RFC 1071");
    }
}
