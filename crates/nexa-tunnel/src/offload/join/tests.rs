use proptest::prelude::*;

use super::super::tests::{TCP, UDP, datagrams, frame, plain_checksum, segments};
use super::super::{ACK, Frame as Opened, HEADER, TCP_FLAGS, UDP_CHECKSUM, open, read_u32};
use super::*;

const ACK_PSH: u8 = ACK | PSH;
const FIRST_PORT: [u8; 2] = [0, 0];
const ALL: Takes = Takes { streams: true, datagrams: true };

/// What is written to the device for packets that come in this order, headers included.
fn written(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    written_as(ALL, packets)
}

fn written_as(takes: Takes, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut arena, mut joined) = (Vec::new(), Joined::new(takes));
    for packet in packets {
        let start = arena.len();
        arena.extend_from_slice(packet);
        joined.push(&arena, start, packet.len());
    }
    (0..joined.frames())
        .map(|at| {
            let mut pieces = [IoSlice::new(&[]); MOST_PIECES];
            let count = joined.write(at, &arena, &mut pieces);
            pieces[..count].iter().flat_map(|piece| piece.to_vec()).collect()
        })
        .collect()
}

/// What the kernel makes of frames that are written to it.
fn cut_back(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for frame in frames {
        match open(&mut frame.clone()) {
            Ok(Opened::Whole) => packets.push(frame[HEADER..].to_vec()),
            Ok(Opened::Cut(_)) => packets.extend(segments(&mut frame.clone())),
            Err(error) => panic!("{error:?}"),
        }
    }
    packets
}

fn transport_of(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 6 { 40 } else { 20 }
}

/// Puts right checksums into a packet, so that nothing but what was changed is wrong with it.
fn correct(packet: &mut [u8]) {
    let transport = transport_of(packet);
    let protocol = packet[if transport == 40 { 6 } else { 9 }];
    let (network, rest) = packet.split_at_mut(transport);
    if transport == 20 {
        network[10..12].fill(0);
        let checksum = plain_checksum(&[network]);
        network[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    let field = if protocol == UDP { UDP_CHECKSUM } else { 16 };
    rest[field..field + 2].fill(0);
    let length = (rest.len() as u32).to_be_bytes();
    let addresses = if transport == 40 { &network[8..40] } else { &network[12..20] };
    let checksum = plain_checksum(&[addresses, &[0, protocol], &length, rest]);
    rest[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Packets of one stream, all of `size` bytes.
fn stream(v6: bool, count: usize, size: u16) -> Vec<Vec<u8>> {
    let payload: Vec<_> = (0..count * usize::from(size)).map(|n| n as u8).collect();
    segments(&mut frame(v6, 12, &payload, size, ACK))
}

/// Datagrams of one flow, all of `size` bytes.
fn flow(v6: bool, count: usize, size: u16) -> Vec<Vec<u8>> {
    let payload: Vec<_> = (0..count * usize::from(size)).map(|n| n as u8).collect();
    segments(&mut datagrams(v6, &payload, size))
}

proptest! {
    #[test]
    fn datagrams_that_are_joined_are_cut_back_into_the_same(
        v6: bool,
        payload in proptest::collection::vec(any::<u8>(), 1..40_000),
        size in 40u16..1400,
    ) {
        let packets = segments(&mut datagrams(v6, &payload, size));
        let frames = written(&packets);
        prop_assert_eq!(frames.len(), packets.len().div_ceil(MOST_SEGMENTS));
        prop_assert!(cut_back(&frames) == packets);
    }

    #[test]
    fn what_is_joined_is_cut_back_into_the_same_packets(
        v6: bool,
        options in (0usize..=10).prop_map(|words| words * 4),
        payload in proptest::collection::vec(any::<u8>(), 1..60_000),
        size in 536u16..9000,
        flags in prop_oneof![Just(ACK), Just(ACK_PSH), Just(ACK | 1), Just(ACK | 0x80)],
    ) {
        let packets = segments(&mut frame(v6, options, &payload, size, flags));
        let frames = written(&packets);
        prop_assert!(flags & !PSH != ACK || frames.len() == packets.len().div_ceil(MOST_SEGMENTS));
        prop_assert!(cut_back(&frames) == packets);
    }

    /// Two streams or flows, mixed, with packets lost, doubled, swapped and changed anywhere: whatever comes, each
    /// arrives as it was, and in its order.
    #[test]
    fn whatever_comes_arrives_as_it_was(
        v6: bool,
        make in prop_oneof![Just(stream as fn(bool, usize, u16) -> Vec<Vec<u8>>), Just(flow as fn(bool, usize, u16) -> Vec<Vec<u8>>)],
        size in 1u16..50,
        order in proptest::collection::vec((0usize..2, 0usize..12), 1..40),
        changes in proptest::collection::vec((0usize..40, 0usize..100, 0u8..8, any::<bool>()), 0..6),
    ) {
        let mut other = make(v6, 12, size);
        for packet in &mut other {
            let transport = transport_of(packet);
            packet[transport] = 1;
            correct(packet);
        }
        let streams = [make(v6, 12, size), other];
        let mut packets: Vec<_> = order.iter().map(|(one, n)| streams[*one][*n].clone()).collect();
        for (which, at, bit, right) in changes {
            let Some(packet) = packets.get_mut(which) else { continue };
            if let Some(byte) = packet.get_mut(at) {
                *byte ^= 1 << bit;
            }
            // A change may have turned TCP into what is too short to have a checksum.
            if right && packet.len() >= transport_of(packet) + 20 {
                correct(packet);
            }
        }
        let back = cut_back(&written(&packets));
        for first in [true, false] {
            let of = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                let is_first = |packet: &&Vec<u8>| packet[transport_of(packet)..][..2] == FIRST_PORT;
                packets.iter().filter(|packet| is_first(packet) == first).cloned().collect()
            };
            let (mut before, mut after) = (of(&packets), of(&back));
            // A change may have made a stream of its own of a packet: then only what arrives is told, not when.
            before.sort();
            after.sort();
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn no_packet_makes_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 20..200),
        start in 0usize..3,
        protocol in prop_oneof![Just(TCP), Just(UDP)],
    ) {
        let mut bytes = bytes;
        bytes[0] = [0x45, 0x60, 0x46][start];
        bytes[9] = protocol;
        bytes[6] = if start == 1 { protocol } else { 0 };
        let length = bytes.len() as u16;
        if start == 1 {
            bytes[4..6].copy_from_slice(&length.saturating_sub(40).to_be_bytes());
        } else {
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
        }
        prop_assert_eq!(cut_back(&written(&[bytes.clone(), bytes.clone()])), vec![bytes.clone(), bytes]);
    }
}

#[test]
fn streams_that_mix_are_each_joined() {
    let first = stream(false, 8, 100);
    let mut packets = Vec::new();
    for packet in first {
        let mut other = packet.clone();
        other[20] = 7;
        correct(&mut other);
        packets.extend([packet, other]);
    }
    assert_eq!(written(&packets).len(), 2);
}

#[test]
fn identifications_that_stay_the_same_are_joined_where_they_mean_nothing() {
    let mut packets = stream(false, 3, 100);
    for packet in &mut packets {
        packet[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
        correct(packet);
    }
    assert_eq!(written(&packets).len(), 1);
    for packet in &mut packets {
        packet[6] = 0;
        correct(packet);
    }
    assert_eq!(written(&packets).len(), 3);
}

/// A change to the second of three packets that must keep it apart from the first.
type Change = (&'static str, fn(&mut Vec<u8>, usize));

#[test]
fn what_differs_is_not_joined() {
    let changes: [Change; 17] = [
        ("a gap", |packet, tcp| packet[tcp + 7] ^= 1),
        ("another acknowledgement", |packet, tcp| packet[tcp + 11] ^= 1),
        ("another window", |packet, tcp| packet[tcp + 15] ^= 1),
        ("an urgent pointer", |packet, tcp| packet[tcp + 19] ^= 1),
        ("another option", |packet, tcp| packet[tcp + 20] ^= 1),
        ("another port", |packet, tcp| packet[tcp + 1] ^= 1),
        ("FIN", |packet, tcp| packet[tcp + TCP_FLAGS] |= 0x01),
        ("SYN", |packet, tcp| packet[tcp + TCP_FLAGS] |= 0x02),
        ("RST", |packet, tcp| packet[tcp + TCP_FLAGS] |= 0x04),
        ("URG", |packet, tcp| packet[tcp + TCP_FLAGS] |= 0x20),
        ("ECE", |packet, tcp| packet[tcp + TCP_FLAGS] |= 0x40),
        ("CWR", |packet, tcp| packet[tcp + TCP_FLAGS] |= 0x80),
        ("no ACK", |packet, tcp| packet[tcp + TCP_FLAGS] = 0),
        ("a reserved bit", |packet, tcp| packet[tcp + 12] |= 1),
        ("another hop limit", |packet, tcp| packet[if tcp == 20 { 8 } else { 7 }] ^= 1),
        ("another traffic class", |packet, _| packet[1] ^= 0x10),
        ("another source", |packet, _| packet[15] ^= 1),
    ];
    for v6 in [false, true] {
        let tcp = if v6 { 40 } else { 20 };
        let packets = stream(v6, 2, 100);
        assert_eq!(written(&packets).len(), 1);
        for (what, change) in changes {
            let mut packets = packets.clone();
            change(&mut packets[1], tcp);
            correct(&mut packets[1]);
            assert_eq!(written(&packets).len(), 2, "{what}");
        }
        for wrong in 0..2 {
            let mut packets = packets.clone();
            packets[wrong][tcp + 16] ^= 1;
            assert_eq!(written(&packets), plain(&packets), "a wrong checksum");
        }
    }
    let packets = stream(false, 2, 100);
    for (what, at, value) in [
        ("a fragment", 6, 0x20),
        ("the last fragment", 7, 1),
        ("do not fragment", 6, 0x40),
        ("an identification", 5, 9),
    ] {
        let mut packets = packets.clone();
        packets[1][at] = value;
        correct(&mut packets[1]);
        assert_eq!(written(&packets), plain(&packets), "{what}");
    }
    let mut packets = packets;
    packets[1][10] ^= 1;
    assert_eq!(written(&packets), plain(&packets), "a wrong checksum of the IP header");
}

/// Packets that are written one by one.
fn plain(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| [&[0; HEADER], packet.as_slice()].concat()).collect()
}

#[test]
fn nothing_follows_what_is_pushed_or_short_nor_what_was_never_full() {
    let packets = stream(true, 3, 100);
    let mut pushed = packets.clone();
    pushed[1][40 + TCP_FLAGS] |= PSH;
    correct(&mut pushed[1]);
    assert_eq!(written(&pushed).len(), 2);

    let unequal = segments(&mut frame(true, 12, &[1; 250], 100, ACK));
    assert_eq!(written(&unequal).len(), 1);
    let mut next = stream(true, 4, 100)[3].clone();
    let sequence = read_u32(&unequal[2], 44) + 50;
    next[44..48].copy_from_slice(&sequence.to_be_bytes());
    correct(&mut next);
    assert_eq!(written(&[unequal[2].clone(), next.clone()]).len(), 2, "a longer one");
    assert_eq!(written(&[unequal, vec![next]].concat()).len(), 2, "after a short one");
}

#[test]
fn a_bare_acknowledgement_is_not_passed_by_what_came_after() {
    let mut packets = stream(false, 3, 100);
    packets[1].truncate(20 + 32);
    packets[1][3] = 20 + 32;
    correct(&mut packets[1]);
    assert_eq!(written(&packets), plain(&packets));
}

#[test]
fn datagrams_that_differ_are_not_joined() {
    let changes: [Change; 6] = [
        ("another port", |packet, udp| packet[udp + 1] ^= 1),
        ("another hop limit", |packet, udp| packet[if udp == 20 { 8 } else { 7 }] ^= 1),
        ("another traffic class", |packet, _| packet[1] ^= 0x10),
        ("another source", |packet, _| packet[15] ^= 1),
        ("a length that is not its own", |packet, udp| packet[udp + 5] ^= 1),
        ("a longer one", |packet, udp| {
            packet.push(0);
            for at in [udp + 5, if udp == 20 { 3 } else { 5 }] {
                packet[at] += 1;
            }
        }),
    ];
    for v6 in [false, true] {
        let udp = if v6 { 40 } else { 20 };
        let packets = flow(v6, 2, 100);
        assert_eq!(written(&packets).len(), 1);
        for (what, change) in changes {
            let mut packets = packets.clone();
            change(&mut packets[1], udp);
            correct(&mut packets[1]);
            assert_eq!(written(&packets), plain(&packets), "{what}");
        }
        for wrong in 0..2 {
            let mut packets = packets.clone();
            packets[wrong][udp + 6] ^= 1;
            assert_eq!(written(&packets), plain(&packets), "a wrong checksum");
            packets[wrong][udp + 6..udp + 8].fill(0);
            assert_eq!(written(&packets), plain(&packets), "no checksum");
        }
        let short = segments(&mut datagrams(v6, &[1; 150], 100));
        let after = [short, packets[1..].to_vec()].concat();
        assert_eq!(written(&after).len(), 2, "nothing follows a short one");
    }
}

#[test]
fn what_a_device_does_not_take_joined_goes_one_by_one() {
    let (streams, flows) = (stream(true, 3, 100), flow(true, 3, 100));
    let all = [streams, flows].concat();
    for (takes, frames) in [([true, true], 2), ([true, false], 4), ([false, true], 4), ([false, false], 6)] {
        let [streams, datagrams] = takes;
        assert_eq!(written_as(Takes { streams, datagrams }, &all).len(), frames, "{takes:?}");
    }
}
