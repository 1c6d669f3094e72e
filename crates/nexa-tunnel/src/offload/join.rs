//! Joins packets for the device: neighbours of one TCP stream, or datagrams of one flow, become one frame, which the
//! kernel cuts again only where it must. What is joined can be cut back into the same packets, so nobody can tell by
//! what arrives.

use std::io::IoSlice;

use super::{
    DO_NOT_FRAGMENT, GSO_TCP_V4, GSO_TCP_V6, GSO_UDP, HEADER, NEEDS_CHECKSUM, PSH, Protocol, TCP_FLAGS, fold,
    pseudo_header, read_u16, sum,
};
use segment::Segment;

mod segment;

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
    /// What the device takes joined.
    takes: Takes,
}

/// What may be joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes {
    pub(crate) streams: bool,
    pub(crate) datagrams: bool,
}

impl Takes {
    const fn takes(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.streams,
            Protocol::Udp => self.datagrams,
        }
    }
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

impl Joined {
    pub(crate) const fn new(takes: Takes) -> Self {
        Self { packets: Vec::new(), frames: Vec::new(), takes }
    }

    pub(crate) fn clear(&mut self) {
        self.packets.clear();
        self.frames.clear();
    }

    /// Takes the packet at `start` of `arena`, which holds those before it too.
    pub(crate) fn push(&mut self, arena: &[u8], start: usize, length: usize) {
        let packet = &arena[start..start + length];
        let segment = Segment::parse(packet).filter(|segment| self.takes.takes(segment.protocol));
        let Some(segment) = segment else { return self.begin(start, length, None) };
        // The latest frame of the stream decides: a packet never passes an earlier one of its own stream.
        let found = self.frames.iter().enumerate().rev().take(LOOK_BACK).find_map(|(at, frame)| {
            let first = self.packets[frame.first as usize];
            let head = &arena[first.start..first.start + first.length];
            let stream = frame.stream?;
            stream.segment.same_stream(head, &segment, packet).then_some((at, head, stream))
        });
        if let Some((at, head, mut stream)) = found
            && stream.takes(head, packet, &segment)
        {
            let next = self.packets.len() as u32;
            self.packets.push(Packet { start, length, next: NONE });
            stream.add(&segment, packet);
            let frame = &mut self.frames[at];
            frame.stream = Some(stream);
            self.packets[frame.last as usize].next = next;
            frame.last = next;
            return;
        }
        let pushed = segment.is_pushed();
        let stream = Stream {
            segment,
            packets: 1,
            length,
            sequence: segment.next_sequence(packet),
            open: segment.may_be_joined(packet) && !pushed,
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

    /// Joins no more of what frame `at` is joined of. Returns what that is, `None` for a single packet.
    pub(crate) fn refuse(&mut self, at: usize) -> Option<&'static str> {
        let stream = self.frames[at].stream.filter(|stream| stream.packets > 1)?;
        Some(match stream.segment.protocol {
            Protocol::Tcp => {
                self.takes.streams = false;
                "packets of a stream"
            }
            Protocol::Udp => {
                self.takes.datagrams = false;
                "datagrams of a flow"
            }
        })
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
        let fits = self.open
            && segment.may_be_joined(packet)
            && segment.size <= self.segment.size
            && self.packets < MOST_SEGMENTS
            && self.length + segment.size <= usize::from(u16::MAX)
            && segment.sequence(packet) == self.sequence
            && segment.same_headers(head, packet)
            && follows(head, packet, self.packets);
        if !fits {
            return false;
        }
        self.verified = self.verified || self.segment.is_right(head);
        self.verified && segment.is_right(packet)
    }

    fn add(&mut self, segment: &Segment, packet: &[u8]) {
        self.packets += 1;
        self.length += segment.size;
        self.sequence = segment.next_sequence(packet);
        self.pushed = segment.is_pushed();
        self.open = !self.pushed && segment.size == self.segment.size;
    }

    /// The headers of the whole, from those of the first packet.
    fn write_headers(&self, head: &[u8], out: &mut [u8; MOST_HEADERS]) {
        let Segment { protocol, transport, payload, size, .. } = self.segment;
        let (header, headers) = out.split_at_mut(HEADER);
        let headers = &mut headers[..payload];
        headers.copy_from_slice(&head[..payload]);
        let (network, behind) = headers.split_at_mut(transport);
        header[0] = NEEDS_CHECKSUM;
        header[1] = match (protocol, transport) {
            (Protocol::Udp, _) => GSO_UDP,
            (Protocol::Tcp, 20) => GSO_TCP_V4,
            (Protocol::Tcp, _) => GSO_TCP_V6,
        };
        if transport == 20 {
            network[2..4].copy_from_slice(&(self.length as u16).to_be_bytes());
            network[10..12].fill(0);
            let checksum = !fold(sum(network));
            network[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            network[4..6].copy_from_slice(&((self.length - 40) as u16).to_be_bytes());
        }
        let field = protocol.checksum_at();
        for (at, word) in [(2, payload), (4, size), (6, transport), (8, field)] {
            header[at..at + 2].copy_from_slice(&(word as u16).to_ne_bytes());
        }
        let length = self.length - transport;
        match protocol {
            Protocol::Tcp if self.pushed => behind[TCP_FLAGS] |= PSH,
            Protocol::Tcp => {}
            Protocol::Udp => behind[4..6].copy_from_slice(&(length as u16).to_be_bytes()),
        }
        let pseudo = pseudo_header(network, protocol, length);
        behind[field..field + 2].copy_from_slice(&fold(pseudo).to_be_bytes());
    }
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

#[cfg(test)]
mod tests;
