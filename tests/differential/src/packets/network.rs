//! IP headers with options, extension headers and fragments, and packets cut short.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

use super::{Datagram, Nature, Packet, Part, Payload};

/// Extension headers after which nobody walks on: `nexa_abi::packet::MAX_EXTENSION_HEADERS`, said once more so that a
/// change there is noticed here.
const TOO_MANY_HEADERS: usize = 6;

/// The kernel runs no program on less than an Ethernet header and a byte.
const SHORTEST: usize = 15;

const FRAGMENT: u8 = 44;
const ROUTING: u8 = 43;

/// A packet with this payload, now and then with something about its IP header that changes what it is.
///
/// # Panics
/// When the addresses are of different families.
pub fn packet(rng: &mut Rng, source: IpAddr, destination: IpAddr, payload: Payload) -> Packet {
    let (mut bytes, nature, part) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v4(rng, source, destination, &payload),
        (IpAddr::V6(source), IpAddr::V6(destination)) => v6(rng, source, destination, &payload),
        _ => panic!("{source} and {destination} are of different families"),
    };
    // Content, so that nothing hinges on the packet ending with its headers.
    if nature != Nature::Broken {
        let headers = bytes.len();
        bytes.resize(headers + rng.usize(0..64), 0);
        rng.fill(&mut bytes[headers..]);
    }
    write_length(&mut bytes);
    let nature = if rng.u8(0..64) == 0 { damage(rng, &mut bytes) } else { nature };
    Packet { bytes, source, destination, nature, part }
}

/// A later fragment of the datagram that `first` begins.
///
/// # Panics
/// When `first` is no first fragment.
pub fn later(rng: &mut Rng, first: &Packet) -> Packet {
    let Part::First(datagram) = first.part else { panic!("{first:?} is no first fragment") };
    // Offset 1 is where a TCP header has its flags.
    let offset = rng.u16(1..4);
    let more = rng.bool();
    let mut bytes = match first.source {
        IpAddr::V4(_) => {
            let mut bytes = first.bytes[..usize::from(first.bytes[0] & 0x0f) * 4].to_vec();
            bytes[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
            bytes
        }
        IpAddr::V6(_) => {
            let mut bytes = first.bytes[..40].to_vec();
            bytes[6] = FRAGMENT;
            bytes.extend(fragment_header(datagram, offset, more));
            bytes
        }
    };
    let headers = bytes.len();
    bytes.resize(headers + rng.usize(8..40), 0);
    rng.fill(&mut bytes[headers..]);
    write_length(&mut bytes);
    Packet { bytes, nature: Nature::Continues, part: Part::Later(datagram, offset), ..first.clone() }
}

fn fragment_header(datagram: Datagram, offset: u16, more: bool) -> [u8; 8] {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    let [a, b, c, d] = datagram.id.to_be_bytes();
    [datagram.protocol, 0, high, low, a, b, c, d]
}

/// Leaves no IP header that could be read: cut short, or of a version that there is not.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) -> Nature {
    let header_bytes = if bytes[0] >> 4 == 6 { 40 } else { 20 };
    if rng.bool() {
        bytes.truncate(rng.usize(SHORTEST..header_bytes));
    } else {
        bytes[0] = [0, 1, 2, 3, 5, 7, 8, 15][rng.usize(0..8)] << 4 | bytes[0] & 0x0f;
    }
    Nature::Broken
}

/// The shortest IP header with these addresses.
pub fn plain(source: IpAddr, destination: IpAddr, protocol: u8) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

fn v4(rng: &mut Rng, source: Ipv4Addr, destination: Ipv4Addr, payload: &Payload) -> (Vec<u8>, Nature, Part) {
    let mut bytes = plain(source.into(), destination.into(), payload.protocol);
    let options = usize::from(rng.u8(0..11)).saturating_sub(5) * 4;
    bytes.resize(20 + options, 0);
    rng.fill(&mut bytes[20..]);
    bytes[0] = 0x40 | u8::try_from(5 + options / 4).expect("at most 15");
    let (mut nature, mut part) = (payload.nature, Part::Whole);
    let number = |bytes: &mut Vec<u8>, id: u16| {
        bytes[4..6].copy_from_slice(&id.to_be_bytes());
        Datagram { id: id.into(), protocol: payload.protocol }
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
    let (bytes, nature) = put(rng, bytes, payload, nature);
    (bytes, nature, part)
}

fn v6(rng: &mut Rng, source: Ipv6Addr, destination: Ipv6Addr, payload: &Payload) -> (Vec<u8>, Nature, Part) {
    let mut bytes = plain(source.into(), destination.into(), payload.protocol);
    let mut nature = payload.nature;
    let mut next_at = 6;
    let headers = match rng.u8(0..32) {
        0 => rng.usize(3..10),
        1..5 => 1,
        5..8 => 2,
        _ => 0,
    };
    // Long walks are of headers that are walked.
    let kinds: &[u8] = if headers > 2 { &[0, 60] } else { &[0, 60, 60, ROUTING, FRAGMENT] };
    // Where the datagram's fragment header is, and what is to be written there once it is known what is next.
    let mut fragment: Option<(usize, u32, u16, bool)> = None;
    for _ in 0..headers {
        let kind = kinds[rng.usize(0..kinds.len())];
        bytes[next_at] = kind;
        next_at = bytes.len();
        // A fragment header is 8 bytes whatever its length byte says.
        let units = if kind == FRAGMENT { 0 } else { rng.u8(0..3) };
        bytes.resize(next_at + (usize::from(units) + 1) * 8, 0);
        bytes[next_at + 1] = units;
        // The first that is not followed decides; what lies behind it is never looked at.
        if matches!(nature, Nature::Continues | Nature::Diverts) {
            continue;
        }
        match (kind, fragment) {
            (ROUTING, _) | (FRAGMENT, Some(_)) => nature = Nature::Diverts,
            (FRAGMENT, None) => {
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
    if headers >= TOO_MANY_HEADERS {
        nature = Nature::Diverts;
    }
    bytes[next_at] = payload.protocol;
    let part = fragment.map_or(Part::Whole, |(at, id, offset, more)| {
        let datagram = Datagram { id, protocol: bytes[at] };
        bytes[at..at + 8].copy_from_slice(&fragment_header(datagram, offset, more));
        match (offset, more) {
            (0, false) => Part::Whole,
            (0, true) => Part::First(datagram),
            _ => Part::Later(datagram, offset),
        }
    });
    let (bytes, nature) = put(rng, bytes, payload, nature);
    (bytes, nature, part)
}

/// Puts the payload behind the headers, and sometimes cuts it inside its transport header.
fn put(rng: &mut Rng, mut bytes: Vec<u8>, payload: &Payload, nature: Nature) -> (Vec<u8>, Nature) {
    let headers = bytes.len();
    bytes.extend(&payload.bytes);
    let has_transport_header = payload.protocol != 132;
    let seen_first = matches!(nature, Nature::Continues | Nature::Diverts);
    if rng.u8(0..24) == 0 && has_transport_header && !seen_first {
        bytes.truncate(headers + rng.usize(0..8));
        return (bytes, Nature::Broken);
    }
    (bytes, nature)
}

/// Says the packet's length in its header.
fn write_length(bytes: &mut [u8]) {
    let v6 = bytes[0] >> 4 == 6;
    let length = u16::try_from(bytes.len() - if v6 { 40 } else { 0 }).expect("short").to_be_bytes();
    let at = if v6 { 4 } else { 2 };
    bytes[at..at + 2].copy_from_slice(&length);
}
