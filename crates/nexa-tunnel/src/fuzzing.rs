//! Entrances for fuzz targets to parsers that are nobody else's business. Each panics when something is wrong.

use std::io::IoSlice;

use crate::core::{MAX_PACKET, PADDING};
use crate::offload::join::{Joined, MOST_PIECES, Takes};
use crate::offload::{self, Frame, HEADER};
use crate::packet::{self, Message};
use crate::uapi;

/// A datagram from anybody, read as what it may be. Whether it is a message.
pub fn datagram(bytes: &[u8]) -> bool {
    let _ = (packet::source(bytes), packet::destination(bytes), packet::handshake(bytes));
    for mtu in [1280, 1420, 1419] {
        let padded = packet::padded(bytes.len(), mtu);
        assert!(padded >= bytes.len() && padded < bytes.len() + PADDING);
        assert!(padded <= mtu || padded == bytes.len(), "never beyond the link");
    }
    Message::parse(bytes).is_some()
}

/// A frame of the device: what is cut of it has its headers, and all of its payload in order.
pub fn frame(bytes: &[u8]) {
    let mut frame = bytes.to_vec();
    let Ok(Frame::Cut(cut)) = offload::open(&mut frame) else { return };
    let packet = &frame[HEADER..];
    let mut segment = vec![0; MAX_PACKET];
    let (mut start, mut count) = (None, 0);
    for n in 0..cut.count(packet) {
        let Ok(length) = cut.write(packet, n, &mut segment) else { return };
        // The headers are as long as what is not payload: each segment but the last is full.
        let first = *start.get_or_insert(length);
        assert!(length <= first && length > 0, "only the last is shorter");
        count += 1;
    }
    assert!(count > 0, "a packet with payload is at least one");
}

/// Packets of a peer, each behind its length in two bytes: a frame that some are joined to gives them back.
pub fn join(bytes: &[u8]) {
    let (mut arena, mut places, mut rest) = (Vec::new(), Vec::new(), bytes);
    while let [high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high & 7, *low])).min(behind.len());
        places.push((arena.len(), length));
        arena.extend_from_slice(&behind[..length]);
        rest = &behind[length..];
    }
    let mut joined = Joined::new(Takes { streams: true, datagrams: true });
    for (start, length) in &places {
        joined.push(&arena, *start, *length);
    }
    let mut seen = 0;
    let mut segment = vec![0; MAX_PACKET];
    for at in 0..joined.frames() {
        let packets: Vec<Vec<u8>> = joined.packets(at, &arena).map(<[u8]>::to_vec).collect();
        seen += packets.len();
        let mut pieces = [IoSlice::new(&[]); MOST_PIECES];
        let count = joined.write(at, &arena, &mut pieces);
        let mut frame: Vec<u8> = pieces[..count].iter().flat_map(|piece| piece.to_vec()).collect();
        match offload::open(&mut frame) {
            Ok(Frame::Whole) => {
                assert!(packets.len() == 1 && frame[HEADER..] == packets[0][..], "one packet, as it came");
            }
            Ok(Frame::Cut(cut)) => {
                let packet = &frame[HEADER..];
                assert_eq!(cut.count(packet), packets.len());
                for (n, before) in packets.iter().enumerate() {
                    let length = cut.write(packet, n, &mut segment).expect("what was joined can be cut");
                    assert_eq!(segment[..length], before[..], "packet {n} of {}", packets.len());
                }
            }
            Err(_) => panic!("what was joined can be opened"),
        }
    }
    assert_eq!(seen, places.len(), "none is lost or doubled");
}

/// A request of `wg`.
#[cfg(unix)]
pub fn uapi(bytes: &[u8]) {
    uapi::read(bytes);
}
