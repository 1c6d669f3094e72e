//! Packets made by hand, for tests that tell a story.

use std::net::IpAddr;

/// TCP flags.
pub mod flag {
    /// Closes.
    pub const FIN: u8 = 0x01;
    /// Opens.
    pub const SYN: u8 = 0x02;
    /// Aborts.
    pub const RST: u8 = 0x04;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
}

/// Where a packet comes from or goes to.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Address.
    pub address: IpAddr,
    /// TCP or UDP port; of an echo, its identifier on the side of who asks.
    pub port: u16,
}

/// An end, from text and a port.
///
/// # Panics
/// When the text is no address.
pub fn end(address: &str, port: u16) -> End {
    End { address: address.parse().expect("an address"), port }
}

/// A TCP segment with 20 bytes of payload.
pub fn tcp(from: End, to: End, flags: u8) -> Vec<u8> {
    let mut header = ports(from, to);
    header.extend([0; 8]);
    header.extend([5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    header.extend([0; 20]);
    ip(from.address, to.address, 6, &header)
}

/// A UDP datagram with 20 bytes of payload.
pub fn udp(from: End, to: End) -> Vec<u8> {
    let mut header = ports(from, to);
    header.extend([0, 28, 0, 0]);
    header.extend([0; 20]);
    ip(from.address, to.address, 17, &header)
}

/// An echo request; the identifier is the port of `from`.
pub fn echo_request(from: End, to: End) -> Vec<u8> {
    let kind = if from.address.is_ipv6() { 128 } else { 8 };
    icmp(from.address, to.address, &[kind, 0, 0, 0], &[from.port.to_be_bytes(), [0, 1]].concat())
}

/// An echo reply; the identifier is the port of `to`.
pub fn echo_reply(from: End, to: End) -> Vec<u8> {
    let kind = if from.address.is_ipv6() { 129 } else { 0 };
    icmp(from.address, to.address, &[kind, 0, 0, 0], &[to.port.to_be_bytes(), [0, 1]].concat())
}

/// "Destination unreachable", sent by `from` to `to` about `about`.
pub fn unreachable(from: IpAddr, to: IpAddr, about: &[u8]) -> Vec<u8> {
    let kind = if from.is_ipv6() { 1 } else { 3 };
    icmp(from, to, &[kind, 1, 0, 0, 0, 0, 0, 0], about)
}

/// All of a packet, as the first fragment of datagram `id`: others are said to follow.
pub fn first_fragment(whole: &[u8], id: u16) -> Vec<u8> {
    fragment(whole, id, 0, true)
}

/// The last fragment of datagram `id`, which begins at `offset` times eight bytes, with headers as those of `whole`.
pub fn later_fragment(whole: &[u8], id: u16, offset: u16) -> Vec<u8> {
    let header_bytes = if whole[0] >> 4 == 4 { 20 } else { 40 };
    fragment(&[&whole[..header_bytes], &[0xaa; 24][..]].concat(), id, offset, false)
}

fn fragment(whole: &[u8], id: u16, offset: u16, more: bool) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if whole[0] >> 4 == 4 {
        bytes[4..6].copy_from_slice(&id.to_be_bytes());
        bytes[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
        return bytes;
    }
    let next = std::mem::replace(&mut bytes[6], 44);
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    let id = u32::from(id).to_be_bytes();
    bytes.splice(40..40, [&[next, 0, high, low], &id[..]].concat());
    bytes
}

fn icmp(from: IpAddr, to: IpAddr, header: &[u8], rest: &[u8]) -> Vec<u8> {
    ip(from, to, if from.is_ipv6() { 58 } else { 1 }, &[header, rest].concat())
}

fn ports(from: End, to: End) -> Vec<u8> {
    [from.port.to_be_bytes(), to.port.to_be_bytes()].concat()
}

fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = |extra: usize| u16::try_from(payload.len() + extra).expect("short").to_be_bytes();
    let mut bytes = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = length(20);
            let mut bytes = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = length(0);
            let mut bytes = vec![0x60, 0, 0, 0, high, low, protocol, 64];
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes
        }
        _ => panic!("{from} and {to} are of different families"),
    };
    bytes.extend(payload);
    bytes
}
