//! Random packets, together with what they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

use crate::policy;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a packet is, said by who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// From its IP header on.
    pub bytes: Vec<u8>,
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What must be made of it.
    pub nature: Nature,
    /// Which part of a datagram it is.
    pub part: Part,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment.
    First(Datagram),
    /// A later fragment that begins at so many times eight bytes.
    Later(Datagram, u16),
}

/// What fragments of one datagram have in common, beside their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// The sender's number for it.
    pub id: u32,
    /// Of IPv4, its protocol; of IPv6, what the fragment header says is next.
    pub protocol: u8,
}

/// What must be made of a packet, policy aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It may begin a conversation.
    Asks {
        /// IANA protocol number.
        protocol: u8,
        /// Source port; of ICMP, the identifier; 0 for protocols that have neither.
        from_port: u16,
        /// Destination port; of ICMP, type and code.
        port: u16,
    },
    /// It is an echo reply: it belongs to a conversation that its receiver began, or to none.
    Echoes {
        /// The identifier.
        id: u16,
    },
    /// It reports an error about a packet that never was.
    Reports,
    /// Its headers end too early or contradict themselves.
    Broken,
    /// It is a later fragment: what its first one was.
    Continues,
    /// It has extension headers that nobody follows.
    Diverts,
}

/// Packets of peers, in which later fragments follow first ones.
#[derive(Debug, Default)]
pub struct Stream {
    first: Option<Packet>,
}

impl Stream {
    /// The next packet: after a first fragment, mostly soon, a later one of its datagram.
    pub fn next(&mut self, rng: &mut Rng) -> Packet {
        if let Some(first) = self.first.take_if(|_| rng.bool()) {
            let again = rng.u8(0..3) == 0;
            let later = later(rng, &first);
            self.first = again.then_some(first);
            return later;
        }
        let packet = from_peer(rng);
        if matches!(packet.part, Part::First(_)) {
            self.first = Some(packet.clone());
        }
        packet
    }
}

/// A later fragment of the datagram that `first` begins.
///
/// # Panics
/// When `first` is no first fragment.
pub fn later(rng: &mut Rng, first: &Packet) -> Packet {
    let Part::First(datagram) = first.part else { panic!("{first:?} is no first fragment") };
    // Offset 1 is where a TCP header has its flags.
    let offset = rng.u16(1..4);
    let mut bytes = match first.source {
        IpAddr::V4(_) => {
            let mut bytes = first.bytes[..usize::from(first.bytes[0] & 0x0f) * 4].to_vec();
            bytes[6..8].copy_from_slice(&(offset | if rng.bool() { 0x2000 } else { 0 }).to_be_bytes());
            bytes
        }
        IpAddr::V6(_) => {
            let mut bytes = first.bytes[..40].to_vec();
            bytes[6] = 44;
            bytes.extend(fragment_header(datagram, offset, rng.bool()));
            bytes
        }
    };
    bytes.extend((0..rng.u8(8..40)).map(|_| rng.u8(..)));
    Packet { bytes, nature: Nature::Continues, part: Part::Later(datagram, offset), ..first.clone() }
}

fn fragment_header(datagram: Datagram, offset: u16, more: bool) -> Vec<u8> {
    let offset_and_more = offset << 3 | u16::from(more);
    [&[datagram.protocol, 0], &offset_and_more.to_be_bytes()[..], &datagram.id.to_be_bytes()].concat()
}

/// A packet as a peer might send it: mostly sane, from a known address or not.
pub fn from_peer(rng: &mut Rng) -> Packet {
    let v6 = rng.bool();
    let host = if rng.u8(0..8) == 0 { rng.u8(..) } else { 2 + rng.u8(0..policy::MAX_PEERS) };
    let source: IpAddr = if v6 {
        Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, u16::from(host)).into()
    } else {
        Ipv4Addr::new(100, 96, 0, host).into()
    };
    let destination = policy::destination(rng, v6);
    packet(rng, source, destination)
}

/// A random packet between two addresses of one family.
///
/// # Panics
/// When the families differ.
pub fn packet(rng: &mut Rng, source: IpAddr, destination: IpAddr) -> Packet {
    let (transport, protocol, nature) = transport(rng, source.is_ipv6());
    let (mut bytes, nature, part) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            v4(rng, source, destination, protocol, transport, nature)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            v6(rng, source, destination, protocol, transport, nature)
        }
        _ => panic!("{source} and {destination} are of different families"),
    };
    // Payload, so that nothing hinges on the packet ending with its headers.
    if nature != Nature::Broken {
        bytes.extend((0..rng.u8(0..64)).map(|_| rng.u8(..)));
    }
    Packet { bytes, source, destination, nature, part }
}

fn transport(rng: &mut Rng, v6: bool) -> (Vec<u8>, u8, Nature) {
    let port = policy::port(rng);
    // Of the same few, so that one peer's packet may answer another's.
    let from_port = if rng.bool() { policy::port(rng) } else { rng.u16(1024..1040) };
    let (icmp, echo_request, echo_reply) = if v6 { (58, 128, 129) } else { (1, 8, 0) };
    match rng.u8(0..16) {
        0 => {
            let header = icmp_header(echo_reply, 0, rng);
            let id = u16::from_be_bytes([header[4], header[5]]);
            (header, icmp, Nature::Echoes { id })
        }
        1 => {
            // An error about a packet that never was: the quoted addresses are nobody's.
            let kind = if v6 { 1 + rng.u8(0..4) } else { [3, 11, 12][rng.usize(0..3)] };
            let mut header = icmp_header(kind, 0, rng);
            header.extend(quoted(rng, v6));
            (header, icmp, Nature::Reports)
        }
        2..5 => {
            let header = icmp_header(echo_request, 0, rng);
            let from_port = u16::from_be_bytes([header[4], header[5]]);
            (header, icmp, Nature::Asks { protocol: icmp, from_port, port: u16::from(echo_request) << 8 })
        }
        5 => (vec![0; 8], 132, Nature::Asks { protocol: 132, from_port: 0, port: 0 }),
        // ICMP of the other version.
        6 => (icmp_header(8, 0, rng), if v6 { 1 } else { 58 }, Nature::Broken),
        7..12 => {
            let mut header = vec![0; 20];
            header[0..2].copy_from_slice(&from_port.to_be_bytes());
            header[2..4].copy_from_slice(&port.to_be_bytes());
            header[12] = 5 << 4;
            header[13] = [0x02, 0x10, 0x18, 0x11, 0x04][rng.usize(0..5)];
            (header, TCP, Nature::Asks { protocol: TCP, from_port, port })
        }
        _ => {
            let mut header = vec![0; 8];
            header[0..2].copy_from_slice(&from_port.to_be_bytes());
            header[2..4].copy_from_slice(&port.to_be_bytes());
            (header, UDP, Nature::Asks { protocol: UDP, from_port, port })
        }
    }
}

fn icmp_header(kind: u8, code: u8, rng: &mut Rng) -> Vec<u8> {
    vec![kind, code, 0, 0, 0, rng.u8(0..4), 0, 1]
}

/// A whole packet for an ICMP error to quote.
fn quoted(rng: &mut Rng, v6: bool) -> Vec<u8> {
    let mut header = if v6 {
        let mut header = vec![0; 40];
        header[0] = 0x60;
        header[6] = UDP;
        header[8..24].copy_from_slice(&rng.u128(..).to_be_bytes());
        header[24..40].copy_from_slice(&rng.u128(..).to_be_bytes());
        header
    } else {
        let mut header = vec![0; 20];
        header[0] = 0x45;
        header[9] = UDP;
        header[12..16].copy_from_slice(&Ipv4Addr::new(192, 0, 2, rng.u8(..)).octets());
        header[16..20].copy_from_slice(&Ipv4Addr::new(192, 0, 2, rng.u8(..)).octets());
        header
    };
    header.extend([0x13, 0x88, 0x01, 0xbb, 0, 8, 0, 0]);
    header
}

fn v4(
    rng: &mut Rng,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    transport: Vec<u8>,
    nature: Nature,
) -> (Vec<u8>, Nature, Part) {
    let options = usize::from(rng.u8(0..11)).saturating_sub(5) * 4;
    let mut bytes = vec![0; 20 + options];
    bytes[0] = 0x40 | u8::try_from(5 + options / 4).expect("at most 15");
    bytes[8] = 64;
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&source.octets());
    bytes[16..20].copy_from_slice(&destination.octets());
    let (mut nature, mut part) = (nature, Part::Whole);
    let number = |bytes: &mut Vec<u8>, id: u16| {
        bytes[4..6].copy_from_slice(&id.to_be_bytes());
        Datagram { id: id.into(), protocol }
    };
    match rng.u8(0..32) {
        // More fragments to come, or a later one of a datagram that nobody began.
        0 => {
            part = Part::First(number(&mut bytes, rng.u16(0..4)));
            bytes[6] = 0x20;
        }
        1 => {
            bytes[7] = rng.u8(1..);
            part = Part::Later(number(&mut bytes, rng.u16(1000..)), bytes[7].into());
            nature = Nature::Continues;
        }
        2 => {
            bytes[0] = 0x40 | rng.u8(0..5);
            return (bytes, Nature::Broken, part);
        }
        // Don't fragment, as most packets say.
        3..16 => bytes[6] = 0x40,
        _ => {}
    }
    let header_bytes = bytes.len();
    bytes.extend(transport);
    let (bytes, nature) = cut(rng, bytes, header_bytes, protocol, nature);
    (bytes, nature, part)
}

fn v6(
    rng: &mut Rng,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    transport: Vec<u8>,
    nature: Nature,
) -> (Vec<u8>, Nature, Part) {
    let mut bytes = vec![0; 40];
    bytes[0] = 0x60;
    bytes[7] = 64;
    bytes[8..24].copy_from_slice(&source.octets());
    bytes[24..40].copy_from_slice(&destination.octets());

    let (mut nature, mut part) = (nature, Part::Whole);
    // Where the datagram's fragment header is, and what is to be written there once it is known what is next.
    let mut fragment: Option<(usize, u32, u16, bool)> = None;
    let mut next_at = 6;
    let headers = usize::from(rng.u8(0..10)).saturating_sub(7);
    for _ in 0..headers {
        let kind = *[0_u8, 60, 60, 43, 44].get(rng.usize(0..5)).expect("in range");
        bytes[next_at] = kind;
        next_at = bytes.len();
        // A fragment header is 8 bytes whatever its length byte says.
        let units = if kind == 44 { 0 } else { rng.u8(0..3) };
        bytes.extend(vec![0; (usize::from(units) + 1) * 8]);
        bytes[next_at + 1] = units;
        // The first that is not followed decides; what lies behind it is never looked at.
        if matches!(nature, Nature::Continues | Nature::Diverts) {
            continue;
        }
        match (kind, fragment) {
            (43, _) | (44, Some(_)) => nature = Nature::Diverts,
            (44, None) => {
                // Alone, the first of several, or a later one of a datagram that nobody began.
                let (id, offset, more) = match rng.u8(0..4) {
                    0 => (0, 0, false),
                    1 | 2 => (rng.u32(0..4), 0, true),
                    _ => (rng.u32(1000..), rng.u16(1..100), rng.bool()),
                };
                if offset > 0 {
                    nature = Nature::Continues;
                }
                fragment = Some((next_at, id, offset, more));
            }
            _ => {}
        }
    }
    bytes[next_at] = protocol;
    if let Some((at, id, offset, more)) = fragment {
        let datagram = Datagram { id, protocol: bytes[at] };
        bytes[at..at + 8].copy_from_slice(&fragment_header(datagram, offset, more));
        part = match (offset, more) {
            (0, false) => Part::Whole,
            (0, true) => Part::First(datagram),
            _ => Part::Later(datagram, offset),
        };
    }
    let header_bytes = bytes.len();
    bytes.extend(transport);
    let (bytes, nature) = cut(rng, bytes, header_bytes, protocol, nature);
    (bytes, nature, part)
}

/// Sometimes cuts a packet inside its transport header.
fn cut(
    rng: &mut Rng,
    mut bytes: Vec<u8>,
    header_bytes: usize,
    protocol: u8,
    nature: Nature,
) -> (Vec<u8>, Nature) {
    let has_transport_header = protocol != 132;
    let seen_first = matches!(nature, Nature::Continues | Nature::Diverts);
    if rng.u8(0..24) == 0 && has_transport_header && !seen_first {
        bytes.truncate(header_bytes + rng.usize(0..8));
        return (bytes, Nature::Broken);
    }
    (bytes, nature)
}
