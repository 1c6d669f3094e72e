//! Frames of a TUN device with a virtio-net header: the kernel leaves checksums to us and hands over TCP in pieces
//! of up to 64 KiB, which are cut here (TSO), as are datagrams that were sent together (USO), and takes such pieces,
//! which [`join`] puts together. One system call and one walk through the kernel per 64 KiB is where the speed comes from.
//! (virtio 1.2, 5.1.6; Linux include/uapi/linux/virtio_net.h)

pub(crate) mod join;

/// Bytes of the header before each packet, read and written.
pub(crate) const HEADER: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
/// Datagrams of one length, the last may be shorter, of either family (Linux 6.2).
const GSO_UDP: u8 = 5;
/// May come with a TCP type; it asks for CWR on the first segment only, which is done anyway.
const GSO_ECN: u8 = 0x80;

const UDP_CHECKSUM: usize = 6;
const UDP_HEADER: usize = 8;
const TCP_CHECKSUM: usize = 16;
const TCP_FLAGS: usize = 13;
const FIN_AND_PSH: u8 = 0x09;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;
const DO_NOT_FRAGMENT: u16 = 0x4000;

/// What is to be done with a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The packet is complete, right behind the header.
    Whole,
    /// The packet is to be cut.
    Cut(Cut),
}

/// What is cut and joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As IP headers name it.
    const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Where its header has the checksum.
    const fn checksum_at(self) -> usize {
        match self {
            Self::Tcp => TCP_CHECKSUM,
            Self::Udp => UDP_CHECKSUM,
        }
    }

    /// A checksum as it is written: in UDP zero means that there is none.
    const fn checksum(self, checksum: u16) -> u16 {
        match (self, checksum) {
            (Self::Udp, 0) => u16::MAX,
            _ => checksum,
        }
    }
}

/// How a large packet is cut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    protocol: Protocol,
    /// Where its header begins.
    transport: usize,
    /// Where the payload begins.
    payload: usize,
    /// Payload bytes of each segment but the last.
    size: usize,
}

/// A frame that is not what the device was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFrame;

/// Reads a frame's header and completes the checksum of a packet that is not to be cut.
pub(crate) fn open(frame: &mut [u8]) -> Result<Frame, BadFrame> {
    let (header, packet) = frame.split_first_chunk_mut::<HEADER>().ok_or(BadFrame)?;
    let word = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let (flags, kind) = (header[0], header[1] & !GSO_ECN);
    let (size, start, offset) = (word(4), word(6), word(8));
    match kind {
        GSO_NONE if flags & NEEDS_CHECKSUM == 0 => Ok(Frame::Whole),
        GSO_NONE => complete(packet, start, offset).map(|()| Frame::Whole),
        GSO_TCP_V4 | GSO_TCP_V6 | GSO_UDP => plan(packet, kind, start, size).map(Frame::Cut),
        _ => Err(BadFrame),
    }
}

/// The checksum's field holds the sum of the pseudo header; what is summed from `start` on includes it.
fn complete(packet: &mut [u8], start: usize, offset: usize) -> Result<(), BadFrame> {
    let field = start + offset;
    if field + 2 > packet.len() {
        return Err(BadFrame);
    }
    let protocol = if offset == UDP_CHECKSUM { Protocol::Udp } else { Protocol::Tcp };
    let checksum = protocol.checksum(finish(sum(&packet[start..])));
    packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

fn plan(packet: &[u8], kind: u8, transport: usize, size: usize) -> Result<Cut, BadFrame> {
    let version = packet.first().ok_or(BadFrame)? >> 4;
    let (least, protocol) = match (kind, version) {
        (GSO_TCP_V4, 4) => (20, Protocol::Tcp),
        (GSO_TCP_V6, 6) => (40, Protocol::Tcp),
        (GSO_UDP, 4) => (20, Protocol::Udp),
        (GSO_UDP, 6) => (40, Protocol::Udp),
        _ => return Err(BadFrame),
    };
    if size == 0 || transport < least || packet.len() > usize::from(u16::MAX) {
        return Err(BadFrame);
    }
    let header = match protocol {
        Protocol::Tcp => usize::from(packet.get(transport + 12).ok_or(BadFrame)? >> 4) * 4,
        Protocol::Udp => UDP_HEADER,
    };
    let payload = transport + header;
    if protocol == Protocol::Tcp && header < 20 || payload >= packet.len() {
        return Err(BadFrame);
    }
    Ok(Cut { protocol, transport, payload, size })
}

impl Cut {
    /// How many segments `packet` gives.
    pub(crate) fn count(&self, packet: &[u8]) -> usize {
        (packet.len() - self.payload).div_ceil(self.size)
    }

    /// Writes segment `n` of `packet` to the start of `out`; returns its length.
    pub(crate) fn write(&self, packet: &[u8], n: usize, out: &mut [u8]) -> Result<usize, BadFrame> {
        let start = self.payload + n * self.size;
        let end = (start + self.size).min(packet.len());
        let length = self.payload + end.checked_sub(start).ok_or(BadFrame)?;
        let segment = out.get_mut(..length).ok_or(BadFrame)?;
        let (headers, payload) = segment.split_at_mut(self.payload);
        headers.copy_from_slice(&packet[..self.payload]);
        payload.copy_from_slice(&packet[start..end]);

        let (network, transport) = headers.split_at_mut(self.transport);
        match self.protocol {
            Protocol::Tcp => {
                let sequence = read_u32(transport, 4).wrapping_add((n * self.size) as u32);
                transport[4..8].copy_from_slice(&sequence.to_be_bytes());
                if end != packet.len() {
                    transport[TCP_FLAGS] &= !FIN_AND_PSH;
                }
                if n != 0 {
                    transport[TCP_FLAGS] &= !CWR;
                }
            }
            Protocol::Udp => {
                transport[4..6].copy_from_slice(&((length - self.transport) as u16).to_be_bytes());
            }
        }
        write_lengths(network, length, n);
        let field = self.protocol.checksum_at();
        transport[field..field + 2].fill(0);
        let pseudo = pseudo_header(network, self.protocol, length - self.transport);
        let checksum = self.protocol.checksum(finish(pseudo + sum(&segment[self.transport..])));
        segment[self.transport + field..][..2].copy_from_slice(&checksum.to_be_bytes());
        Ok(length)
    }
}

/// Puts the length of the whole segment into its IP header, and the next identification into an IPv4 one.
fn write_lengths(network: &mut [u8], length: usize, n: usize) {
    if network[0] >> 4 == 6 {
        network[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
        return;
    }
    network[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    let identification = u16::from_be_bytes([network[4], network[5]]).wrapping_add(n as u16);
    network[4..6].copy_from_slice(&identification.to_be_bytes());
    network[10..12].fill(0);
    let checksum = finish(sum(network));
    network[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn addresses(network: &[u8]) -> &[u8] {
    if network[0] >> 4 == 6 { &network[8..40] } else { &network[12..20] }
}

/// The sum of what a checksum covers besides header and payload, which have `length` bytes.
fn pseudo_header(network: &[u8], protocol: Protocol, length: usize) -> u64 {
    sum(addresses(network)) + u64::from(protocol.number()) + length as u64
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The sum of 16-bit words that the Internet checksum is made of (RFC 1071), folded, so that sums can be added.
/// Neither the order of a word's bytes nor the words' width matters until the end: wide ones in the machine's own
/// order are what the compiler makes vectors of.
fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0_u64; 8];
    let mut add = |chunk: &[u8; 32]| {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    };
    let (chunks, rest) = bytes.as_chunks::<32>();
    chunks.iter().for_each(&mut add);
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    add(&last);
    u64::from(u16::from_be(fold(lanes.iter().sum())))
}

/// The sum in 16 bits.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn finish(sum: u64) -> u16 {
    !fold(sum)
}

#[cfg(test)]
mod tests;
