//! Joins packets for the device: neighbours of one TCP stream become one frame, which the kernel cuts again only where
//! it must. What is joined can be cut back into the same packets, so nobody can tell by what arrives.

use std::io::IoSlice;

use super::{
    ACK, DO_NOT_FRAGMENT, GSO_TCP_V4, GSO_TCP_V6, HEADER, NEEDS_CHECKSUM, PSH, TCP, TCP_CHECKSUM, TCP_FLAGS,
    addresses, fold, read_u16, read_u32, sum,
};

/// Packets in one frame, at most: as many as the kernel joins on its own.
const MOST_SEGMENTS: usize = 64;
/// A virtio-net header, then the largest IPv6 and TCP headers that are joined.
const MOST_HEADERS: usize = HEADER + 40 + 60;
/// Pieces of a frame as it is written: the headers, then what each packet carries.
pub(crate) const MOST_PIECES: usize = MOST_SEGMENTS + 1;
/// So many frames are looked at for the stream a packet belongs to. Further back it begins a frame of its own.
const LOOK_BACK: usize = 16;
const NONE: u32 = u32::MAX;

/// Packets in the order they came, joined where they can be. Each lies where it was decrypted and is not moved.
pub(crate) struct Joined {
    packets: Vec<Packet>,
    frames: Vec<Frame>,
}

#[derive(Clone, Copy)]
struct Packet {
    start: usize,
    length: usize,
    /// The next packet of the same frame, or [`NONE`].
    next: u32,
}

/// One packet or several.
pub(crate) struct Frame {
    first: u32,
    last: u32,
    /// Only for what may be joined at all.
    stream: Option<Stream>,
    headers: [u8; MOST_HEADERS],
}

/// What the packets of a frame have in common, and what the next one must be.
#[derive(Clone, Copy)]
struct Stream {
    segment: Segment,
    packets: usize,
    /// Bytes of the whole frame, headers once.
    length: usize,
    sequence: u32,
    /// Takes more: the last one was full and did not ask to be delivered at once.
    open: bool,
    /// The first packet's checksums are known to be right. Not asked before there is a second one.
    verified: bool,
    pushed: bool,
}

/// A TCP packet without anything unusual about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    transport: usize,
    payload: usize,
    size: usize,
    flags: u8,
}

impl Segment {
    fn parse(packet: &[u8]) -> Option<Self> {
        let transport = match packet.first()? {
            // Without options, and no fragment.
            0x45 if packet.len() >= 40 && packet[9] == TCP && read_u16(packet, 6) & !DO_NOT_FRAGMENT == 0 => {
                (usize::from(read_u16(packet, 2)) == packet.len()).then_some(20)?
            }
            first if first >> 4 == 6 && packet.len() >= 60 && packet[6] == TCP => {
                (usize::from(read_u16(packet, 4)) + 40 == packet.len()).then_some(40)?
            }
            _ => return None,
        };
        let offset = packet[transport + 12];
        let payload = transport + usize::from(offset >> 4) * 4;
        // The bits beside the offset are reserved, or of an experiment with ECN.
        if offset & 0x0f != 0 || payload < transport + 20 || payload > packet.len() {
            return None;
        }
        Some(Self { transport, payload, size: packet.len() - payload, flags: packet[transport + TCP_FLAGS] })
    }

    const fn may_be_joined(&self) -> bool {
        self.size > 0 && self.flags & !PSH == ACK
    }
}

impl Joined {
    pub(crate) fn new() -> Self {
        Self { packets: Vec::new(), frames: Vec::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.packets.clear();
        self.frames.clear();
    }

    /// Takes the packet at `start` of `arena`, on its own.
    pub(crate) fn push_alone(&mut self, start: usize, length: usize) {
        self.begin(start, length, None);
    }

    /// Takes the packet at `start` of `arena`, which holds those before it too.
    pub(crate) fn push(&mut self, arena: &[u8], start: usize, length: usize) {
        let packet = &arena[start..start + length];
        let Some(segment) = Segment::parse(packet) else { return self.begin(start, length, None) };
        // The latest frame of the stream decides: a packet never passes an earlier one of its own stream.
        let found = self.frames.iter().enumerate().rev().take(LOOK_BACK).find_map(|(at, frame)| {
            let first = self.packets[frame.first as usize];
            let head = &arena[first.start..first.start + first.length];
            let stream = frame.stream?;
            same_stream(head, &stream.segment, packet, &segment).then_some((at, head, stream))
        });
        if let Some((at, head, mut stream)) = found
            && stream.takes(head, packet, &segment)
        {
            let next = self.packets.len() as u32;
            self.packets.push(Packet { start, length, next: NONE });
            stream.add(&segment);
            let frame = &mut self.frames[at];
            frame.stream = Some(stream);
            self.packets[frame.last as usize].next = next;
            frame.last = next;
            return;
        }
        let pushed = segment.flags & PSH != 0;
        let stream = Stream {
            segment,
            packets: 1,
            length,
            sequence: read_u32(packet, segment.transport + 4).wrapping_add(segment.size as u32),
            open: segment.may_be_joined() && !pushed,
            verified: false,
            pushed,
        };
        self.begin(start, length, Some(stream));
    }

    fn begin(&mut self, start: usize, length: usize, stream: Option<Stream>) {
        let at = self.packets.len() as u32;
        self.packets.push(Packet { start, length, next: NONE });
        self.frames.push(Frame { first: at, last: at, stream, headers: [0; MOST_HEADERS] });
    }

    /// How many frames there are to write.
    pub(crate) const fn frames(&self) -> usize {
        self.frames.len()
    }

    /// The packets of frame `at`, as they came.
    pub(crate) fn packets<'a>(&'a self, at: usize, arena: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut next = self.frames[at].first;
        std::iter::from_fn(move || {
            let packet = self.packets.get(next as usize)?;
            next = packet.next;
            Some(&arena[packet.start..packet.start + packet.length])
        })
    }

    /// Whether frame `at` is more than one packet.
    pub(crate) fn is_joined(&self, at: usize) -> bool {
        self.frames[at].first != self.frames[at].last
    }

    /// Frame `at` as it is written, its virtio-net header first; returns how many of the `pieces` it has.
    pub(crate) fn write<'a>(
        &'a mut self,
        at: usize,
        arena: &'a [u8],
        pieces: &mut [IoSlice<'a>; MOST_PIECES],
    ) -> usize {
        let frame = &mut self.frames[at];
        let first = self.packets[frame.first as usize];
        let head = &arena[first.start..first.start + first.length];
        let joined = frame.stream.filter(|stream| stream.packets > 1);
        if let Some(stream) = &joined {
            stream.write_headers(head, &mut frame.headers);
        }
        let frame = &self.frames[at];
        let payload = joined.map_or(0, |stream| stream.segment.payload);
        pieces[0] = IoSlice::new(&frame.headers[..HEADER + payload]);
        let (mut next, mut count) = (frame.first, 1);
        while let (Some(packet), Some(piece)) = (self.packets.get(next as usize), pieces.get_mut(count)) {
            *piece = IoSlice::new(&arena[packet.start + payload..packet.start + packet.length]);
            next = packet.next;
            count += 1;
        }
        count
    }
}

impl Stream {
    /// Whether `packet` continues the frame that begins with `head`. What is wrong about it stays as wrong as it is:
    /// a packet with a wrong checksum is never joined, as nobody would check it any more.
    fn takes(&mut self, head: &[u8], packet: &[u8], segment: &Segment) -> bool {
        let transport = segment.transport;
        let fits = self.open
            && segment.may_be_joined()
            && segment.size <= self.segment.size
            && self.packets < MOST_SEGMENTS
            && self.length + segment.size <= usize::from(u16::MAX)
            && read_u32(packet, transport + 4) == self.sequence
            && same_headers(head, packet, segment)
            && follows(head, packet, self.packets);
        if !fits {
            return false;
        }
        self.verified = self.verified || is_right(head, transport);
        self.verified && is_right(packet, transport)
    }

    fn add(&mut self, segment: &Segment) {
        self.packets += 1;
        self.length += segment.size;
        self.sequence = self.sequence.wrapping_add(segment.size as u32);
        self.pushed = segment.flags & PSH != 0;
        self.open = !self.pushed && segment.size == self.segment.size;
    }

    /// The headers of the whole, from those of the first packet.
    fn write_headers(&self, head: &[u8], out: &mut [u8; MOST_HEADERS]) {
        let Segment { transport, payload, size, .. } = self.segment;
        let (header, headers) = out.split_at_mut(HEADER);
        let headers = &mut headers[..payload];
        headers.copy_from_slice(&head[..payload]);
        let (network, tcp) = headers.split_at_mut(transport);
        header[0] = NEEDS_CHECKSUM;
        if transport == 20 {
            header[1] = GSO_TCP_V4;
            network[2..4].copy_from_slice(&(self.length as u16).to_be_bytes());
            network[10..12].fill(0);
            let checksum = !fold(sum(network));
            network[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            header[1] = GSO_TCP_V6;
            network[4..6].copy_from_slice(&((self.length - 40) as u16).to_be_bytes());
        }
        for (at, word) in [(2, payload), (4, size), (6, transport), (8, TCP_CHECKSUM)] {
            header[at..at + 2].copy_from_slice(&(word as u16).to_ne_bytes());
        }
        if self.pushed {
            tcp[TCP_FLAGS] |= PSH;
        }
        let pseudo = sum(addresses(network)) + u64::from(TCP) + (self.length - transport) as u64;
        tcp[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&fold(pseudo).to_be_bytes());
    }
}

/// The same addresses and ports.
fn same_stream(a: &[u8], of_a: &Segment, b: &[u8], of_b: &Segment) -> bool {
    of_a.transport == of_b.transport
        && a[of_a.transport..][..4] == b[of_b.transport..][..4]
        && addresses(&a[..of_a.transport]) == addresses(&b[..of_b.transport])
}

/// Everything else that all packets of a frame share: what the kernel copies to each when it cuts.
fn same_headers(a: &[u8], b: &[u8], segment: &Segment) -> bool {
    let Segment { transport, payload, .. } = *segment;
    let same = |from: usize, to: usize| a[from..to] == b[from..to];
    // IPv4: version, type of service; fragmentation, time to live. IPv6: all but the length.
    let network = if transport == 20 { same(0, 2) && same(6, 10) } else { same(0, 4) && same(6, 8) };
    network
        && a[transport + 12] == b[transport + 12]
        && same(transport + 8, transport + 12)
        && same(transport + 14, transport + 16)
        && same(transport + 18, payload)
}

/// Whether `packet` has the identification of the `n`th after `head`. Without fragments it means nothing, and there
/// are systems that leave it at zero (RFC 6864).
fn follows(head: &[u8], packet: &[u8], n: usize) -> bool {
    if head[0] >> 4 == 6 {
        return true;
    }
    let (first, this) = (read_u16(head, 4), read_u16(packet, 4));
    this == first.wrapping_add(n as u16) || this == first && read_u16(head, 6) == DO_NOT_FRAGMENT
}

/// Whether the checksums of a TCP packet are right.
fn is_right(packet: &[u8], transport: usize) -> bool {
    let (network, tcp) = packet.split_at(transport);
    let pseudo = sum(addresses(network)) + u64::from(TCP) + tcp.len() as u64;
    (transport == 40 || fold(sum(network)) == u16::MAX) && fold(pseudo + sum(tcp)) == u16::MAX
}

#[cfg(test)]
mod tests;
