//! From the bytes of an IP packet to the tuple that policy and flows speak of.
//!
//! Total and bounded: every input is either a [`Packet`] or a [`Reason`] to drop it. The walk over extension
//! headers ends after [`MAX_EXTENSION_HEADERS`]; what lies behind is unknown, hence dropped.

use crate::layout::{Family, FlowKey, PeerKey};
use crate::reason::Reason;

/// Extension headers that are walked. Real traffic has none or one; RFC 8504 §5.3 lets hosts set a limit.
pub const MAX_EXTENSION_HEADERS: u32 = 6;

/// IANA protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IANA protocol number of TCP.
pub const TCP: u8 = 6;
/// IANA protocol number of UDP.
pub const UDP: u8 = 17;
/// IANA protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

mod plain;

pub use plain::{Plain, read_plain};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Type and code 0 of an echo request, as a port.
const ECHO_REQUEST: [u8; 2] = [8, 0];
const ECHO_REQUEST_V6: [u8; 2] = [128, 0];

const TCP_FIN: u8 = 0x01;
const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_ACK: u8 = 0x10;

/// Read access to a packet that starts with its IP header.
pub trait Bytes {
    /// Fills `bytes` from `offset` on; says whether the packet has that many.
    fn load_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool;

    /// `N` bytes at `offset`, or nothing when the packet ends before.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.load_into(offset, &mut bytes).then_some(bytes)
    }

    /// The first `N` words as they lie in memory, if they are to be had at once.
    #[inline(always)]
    fn peek<const N: usize>(&self) -> Option<[u32; N]> {
        None
    }

    /// As [`Self::load_into`], for what few packets have: a program takes a slower way that is short to verify.
    #[inline(always)]
    fn load_rarely_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool {
        self.load_into(offset, bytes)
    }

    /// Length of the packet, bytes.
    fn len(&self) -> u32;

    /// Whether there is no packet at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Bytes for [u8] {
    fn load_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool {
        let found = self.get(offset as usize..).and_then(|rest| rest.first_chunk());
        if let Some(found) = found {
            *bytes = *found;
        }
        found.is_some()
    }

    fn peek<const N: usize>(&self) -> Option<[u32; N]> {
        let words = self.as_chunks().0.first_chunk::<N>()?;
        Some(words.map(u32::from_ne_bytes))
    }

    fn len(&self) -> u32 {
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }
}

/// A packet of which all is read rarely.
struct Rarely<'a, B: ?Sized>(&'a B);

impl<B: Bytes + ?Sized> Bytes for Rarely<'_, B> {
    #[inline(always)]
    fn load_into<const N: usize>(&self, offset: u32, bytes: &mut [u8; N]) -> bool {
        self.0.load_rarely_into(offset, bytes)
    }

    fn len(&self) -> u32 {
        self.0.len()
    }
}

/// How a packet relates to flows.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// May begin a flow.
    #[default]
    Plain,
    /// May begin a flow; of TCP, it opens a connection.
    Opening,
    /// Ends a TCP connection: FIN or RST. Allowed without a flow, it begins one that soon dies.
    Closing,
    /// Answers a request, never begins a flow. The tuple is the request's, reversed.
    Reply,
    /// Reports an error about a packet that went the other way. The tuple is that packet's.
    Error,
}

impl Kind {
    /// Whether a flow may begin with it.
    pub const fn begins(self) -> bool {
        matches!(self, Self::Plain | Self::Opening | Self::Closing)
    }
}

/// Which part of a datagram a packet is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The first fragment, with the whole transport header in it.
    First,
    /// A later fragment. Ports and, in IPv6, the protocol are those of the first.
    Later,
}

/// What policy and flows need to know of a packet.
// Aligned, so that it is cleared by a few stores and not by a loop over its bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Addresses and ports from sender to receiver; for [`Kind::Error`] those of the packet it is about.
    pub tuple: FlowKey,
    /// The same from the other end. Only the engine fills it in: it has no place of its own for that on its stack.
    pub reversed: FlowKey,
    /// Sender of this packet.
    pub source: PeerKey,
    /// Receiver of this packet.
    pub destination: PeerKey,
    /// How it relates to flows.
    pub kind: Kind,
    /// Which part of a datagram it is.
    pub part: Part,
    /// Of a fragment: where it begins, in units of eight bytes.
    pub fragment_offset: u16,
    /// Of a fragment: the datagram's number.
    pub fragment_id: u32,
    /// Bytes of IP and transport headers, which every segment of a GSO packet repeats.
    pub header_bytes: u32,
}

impl Packet {
    /// Forgets everything: a default packet, written word by word.
    #[inline(always)]
    fn clear(&mut self) {
        const WORDS: usize = size_of::<Packet>() / size_of::<u64>();
        let words: *mut u64 = core::ptr::from_mut(self).cast();
        for word in 0..WORDS {
            // SAFETY: inside of the packet, which is aligned and as long as so many words; all zero is a packet.
            // Volatile, because LLVM would make a call of it that writes byte by byte.
            unsafe { words.add(word).write_volatile(0) }
        }
    }
}

/// Where a transport header starts, and which; of a fragment, which it is.
struct Transport {
    protocol: u8,
    part: Part,
    fragment_offset: u16,
    fragment_id: u32,
    offset: u32,
}

/// Reads a packet.
///
/// # Errors
/// The reason to drop it.
pub fn parse<B: Bytes + ?Sized>(bytes: &B) -> Result<Packet, Reason> {
    let mut packet = Packet::default();
    parse_into(bytes, &mut packet)?;
    Ok(packet)
}

/// Reads a packet into a place of the caller's, which a program has outside of its stack. After an error it holds what
/// could be read.
///
/// # Errors
/// The reason to drop it.
#[inline(always)]
pub fn parse_into<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet) -> Result<(), Reason> {
    packet.clear();
    let tuple = &mut packet.tuple;
    let [first] = bytes.load::<1>(0).ok_or(Reason::Malformed)?;
    let transport = match first >> 4 {
        4 => parse_v4(bytes, 0, tuple)?,
        6 => parse_v6(bytes, 0, tuple)?,
        _ => return Err(Reason::Malformed),
    };
    packet.source = PeerKey { family: tuple.family.into(), address: tuple.source };
    packet.destination = PeerKey { family: tuple.family.into(), address: tuple.destination };
    packet.part = transport.part;
    packet.fragment_offset = transport.fragment_offset;
    packet.fragment_id = transport.fragment_id;
    packet.header_bytes = transport.offset;
    if matches!(transport.part, Part::Later) {
        tuple.protocol = transport.protocol;
        return Ok(());
    }
    (packet.kind, packet.header_bytes) = parse_transport(bytes, &transport, tuple)?;
    if packet.header_bytes > bytes.len() {
        return Err(if matches!(transport.part, Part::First) { Reason::Fragment } else { Reason::Malformed });
    }
    Ok(())
}

fn parse_v4<B: Bytes + ?Sized>(bytes: &B, at: u32, tuple: &mut FlowKey) -> Result<Transport, Reason> {
    let header = bytes.load::<20>(at).ok_or(Reason::Malformed)?;
    let header_bytes = u32::from(header[0] & 0x0f) * 4;
    if header_bytes < 20 {
        return Err(Reason::Malformed);
    }
    tuple.family = Family::V4 as u8;
    tuple.source[..4].copy_from_slice(&header[12..16]);
    tuple.destination[..4].copy_from_slice(&header[16..20]);
    let flags_and_offset = u16::from_be_bytes([header[6], header[7]]);
    let fragment_offset = flags_and_offset & 0x1fff;
    let more = flags_and_offset & 0x2000 != 0;
    Ok(Transport {
        protocol: header[9],
        part: part(fragment_offset, more),
        fragment_offset,
        fragment_id: u16::from_be_bytes([header[4], header[5]]).into(),
        offset: at + header_bytes,
    })
}

const fn part(fragment_offset: u16, more: bool) -> Part {
    match (fragment_offset, more) {
        // In IPv6, a fragment header around everything (RFC 6946).
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}

fn parse_v6<B: Bytes + ?Sized>(bytes: &B, at: u32, tuple: &mut FlowKey) -> Result<Transport, Reason> {
    // One byte: a larger array would be cleared by a call, and each call costs 32 bytes of stack.
    let [protocol] = bytes.load::<1>(at + 6).ok_or(Reason::Malformed)?;
    tuple.family = Family::V6 as u8;
    // Straight to where they belong: all frames of a program together have 512 bytes of stack.
    if !bytes.load_into(at + 8, &mut tuple.source) || !bytes.load_into(at + 24, &mut tuple.destination) {
        return Err(Reason::Malformed);
    }

    let mut found =
        Transport { protocol, part: Part::Whole, fragment_offset: 0, fragment_id: 0, offset: at + 40 };
    let mut header = [0; 8];
    let mut fragmented = false;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let is_fragment = match found.protocol {
            HOP_BY_HOP | DESTINATION_OPTIONS => false,
            FRAGMENT if !fragmented => true,
            // A routing header sends the packet on to a destination that policy has not seen. Of fragments of
            // fragments nobody knows what they will be.
            FRAGMENT | ROUTING | MOBILITY | HIP | SHIM6 => return Err(Reason::ExtensionHeader),
            _ => return Ok(found),
        };
        // No extension header is shorter than eight bytes (RFC 8200 §4).
        if !bytes.load_rarely_into(found.offset, &mut header) {
            return Err(Reason::Malformed);
        }
        found.protocol = header[0];
        if !is_fragment {
            found.offset += (u32::from(header[1]) + 1) * 8;
            continue;
        }
        fragmented = true;
        found.offset += 8;
        let offset_and_more = u16::from_be_bytes([header[2], header[3]]);
        found.fragment_offset = offset_and_more >> 3;
        found.fragment_id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        found.part = part(found.fragment_offset, offset_and_more & 1 != 0);
        if matches!(found.part, Part::Later) {
            return Ok(found);
        }
    }
    Err(Reason::ExtensionHeader)
}

/// Fills in protocol and ports; says how the packet relates to flows and where its payload starts.
// In a frame of its own it would be one more on the way to what an ICMP error quotes, the deepest there is.
#[inline(always)]
fn parse_transport<B: Bytes + ?Sized>(
    bytes: &B,
    transport: &Transport,
    tuple: &mut FlowKey,
) -> Result<(Kind, u32), Reason> {
    let at = transport.offset;
    tuple.protocol = transport.protocol;
    match transport.protocol {
        TCP => {
            set_ports(tuple, &bytes.load::<4>(at).ok_or(Reason::Malformed)?);
            let [length, flags] = bytes.load::<2>(at + 12).ok_or(Reason::Malformed)?;
            let kind = match flags {
                flags if flags & (TCP_FIN | TCP_RST) != 0 => Kind::Closing,
                flags if flags & (TCP_SYN | TCP_ACK) == TCP_SYN => Kind::Opening,
                _ => Kind::Plain,
            };
            let header_bytes = u32::from(length >> 4) * 4;
            if header_bytes < 20 {
                return Err(Reason::Malformed);
            }
            Ok((kind, at + header_bytes))
        }
        UDP => {
            set_ports(tuple, &bytes.load::<8>(at).ok_or(Reason::Malformed)?);
            Ok((Kind::Plain, at + 8))
        }
        ICMP if tuple.family == Family::V4 as u8 => parse_icmp(bytes, at, tuple, &V4_TYPES),
        ICMPV6 if tuple.family == Family::V6 as u8 => parse_icmp(bytes, at, tuple, &V6_TYPES),
        // ICMP of the other version: nobody answers it, and a grant of ICMP does not mean it.
        ICMP | ICMPV6 => Err(Reason::Malformed),
        _ => Ok((Kind::Plain, at)),
    }
}

fn set_ports<const N: usize>(tuple: &mut FlowKey, header: &[u8; N]) {
    tuple.source_port = [header[0], header[1]];
    tuple.destination_port = [header[2], header[3]];
}

/// The types of one ICMP version that mean something to flows.
struct IcmpTypes {
    echo_request: [u8; 2],
    echo_reply: u8,
    /// Destination unreachable or packet too big, time exceeded, parameter problem.
    errors: [u8; 4],
}

const V4_TYPES: IcmpTypes = IcmpTypes { echo_request: ECHO_REQUEST, echo_reply: 0, errors: [3, 11, 12, 12] };
const V6_TYPES: IcmpTypes =
    IcmpTypes { echo_request: ECHO_REQUEST_V6, echo_reply: 129, errors: [1, 2, 3, 4] };

fn parse_icmp<B: Bytes + ?Sized>(
    bytes: &B,
    at: u32,
    tuple: &mut FlowKey,
    types: &IcmpTypes,
) -> Result<(Kind, u32), Reason> {
    let header = bytes.load::<8>(at).ok_or(Reason::Malformed)?;
    let [kind, code] = [header[0], header[1]];
    if types.errors.contains(&kind) {
        parse_embedded(&Rarely(bytes), at + 8, tuple)?;
        return Ok((Kind::Error, at + 8));
    }
    if [kind, code] == types.echo_request {
        tuple.source_port = [header[4], header[5]];
        tuple.destination_port = types.echo_request;
        return Ok((Kind::Plain, at + 8));
    }
    if kind == types.echo_reply {
        tuple.source_port = types.echo_request;
        tuple.destination_port = [header[4], header[5]];
        tuple.answers = 1;
        return Ok((Kind::Reply, at + 8));
    }
    tuple.destination_port = [kind, code];
    Ok((Kind::Plain, at + 8))
}

/// Replaces the tuple by that of the packet which an ICMP error quotes. Routers quote at least eight bytes of
/// transport header (RFC 792), which hold the ports and the echo identifier.
fn parse_embedded<B: Bytes + ?Sized>(bytes: &B, at: u32, tuple: &mut FlowKey) -> Result<(), Reason> {
    let transport = if tuple.family == Family::V4 as u8 {
        let [first] = bytes.load::<1>(at).ok_or(Reason::Malformed)?;
        if first >> 4 != 4 {
            return Err(Reason::Malformed);
        }
        parse_v4(bytes, at, tuple)?
    } else {
        let [first] = bytes.load::<1>(at).ok_or(Reason::Malformed)?;
        if first >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        parse_v6(bytes, at, tuple)?
    };
    if matches!(transport.part, Part::Later) {
        // It has no ports, and whose conversation it is of is not known.
        return Err(Reason::Fragment);
    }
    tuple.protocol = transport.protocol;
    let quoted = bytes.load::<8>(transport.offset).ok_or(Reason::Malformed)?;
    match transport.protocol {
        TCP | UDP => set_ports(tuple, &quoted),
        ICMP if [quoted[0], quoted[1]] == ECHO_REQUEST => {
            tuple.source_port = [quoted[4], quoted[5]];
            tuple.destination_port = ECHO_REQUEST;
        }
        ICMPV6 if [quoted[0], quoted[1]] == ECHO_REQUEST_V6 => {
            tuple.source_port = [quoted[4], quoted[5]];
            tuple.destination_port = ECHO_REQUEST_V6;
        }
        ICMP | ICMPV6 => return Err(Reason::NoFlow),
        _ => {}
    }
    Ok(())
}

/// Packets on the wire, and their bytes, that one packet of `len_bytes` stands for.
///
/// A GSO packet carries its headers once. A packet from a TUN device says its segment size but not its number of
/// segments, hence the division.
pub const fn segments(len_bytes: u32, header_bytes: u32, gso_size: u32) -> (u64, u64) {
    if gso_size == 0 || len_bytes <= header_bytes {
        return (1, len_bytes as u64);
    }
    let packets = (len_bytes - header_bytes).div_ceil(gso_size) as u64;
    (packets, len_bytes as u64 + (packets - 1) * header_bytes as u64)
}
