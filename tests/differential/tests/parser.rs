//! The parser on bytes that nobody meant as a packet, and the arithmetic of segments.

use nexa_abi::packet::{self, Kind, Part, segments};
use nexa_differential::{effort, packets, seed};

/// In debug builds arithmetic that overflows panics, so this also shows that none does.
#[test]
fn no_bytes_make_the_parser_panic_or_read_beyond_their_end() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut parsed, mut refused) = (0_u32, 0_u32);
    for round in 0..200_000 * effort() {
        let mut bytes: Vec<u8> = if round % 2 == 0 {
            // A packet with some of its bytes changed: deeper than noise gets.
            let mut bytes = packets::from_peer(&mut rng).bytes;
            for _ in 0..rng.u8(1..4) {
                if let Some(byte) = rng.choice(bytes.iter_mut()) {
                    *byte = rng.u8(..);
                }
            }
            bytes
        } else {
            (0..rng.usize(0..120)).map(|_| rng.u8(..)).collect()
        };
        bytes.truncate(rng.usize(0..=bytes.len()));
        match packet::parse(bytes.as_slice()) {
            Ok(packet) => {
                parsed += 1;
                assert!(matches!(packet.source.family, 4 | 6), "seed {seed}: {bytes:02x?}");
                assert_eq!(packet.tuple.zero, 0, "seed {seed}: {bytes:02x?}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(parsed > 1_000 && refused > 1_000, "seed {seed}: {parsed} parsed, {refused} refused");
}

#[test]
fn a_plain_packet_is_read_as_any_other() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut plain, mut others) = (0_u32, 0_u32);
    for _ in 0..100_000 * effort() {
        let mut bytes = packets::from_peer(&mut rng).bytes;
        if rng.bool()
            && let Some(byte) = rng.choice(bytes.iter_mut())
        {
            *byte = rng.u8(..);
        }
        bytes.truncate(if rng.bool() { rng.usize(0..=bytes.len()) } else { bytes.len() });
        let Some(read) = packet::read_plain(bytes.as_slice()) else {
            others += 1;
            continue;
        };
        plain += 1;
        let parsed = packet::parse(bytes.as_slice()).expect("it can be read");
        assert_eq!((read.tuple, read.header_bytes), (parsed.tuple, parsed.header_bytes), "{bytes:02x?}");
        assert_eq!((parsed.kind, parsed.part), (Kind::Plain, Part::Whole), "seed {seed}: {bytes:02x?}");
        if read.tuple.protocol == packet::TCP {
            let flags = bytes[if read.tuple.family == 4 { 33 } else { 53 }];
            assert_eq!(flags & 0b111, 0, "seed {seed}: it opens, closes or resets: {bytes:02x?}");
        }
    }
    assert!(plain > 1_000 && others > 1_000, "seed {seed}: {plain} plain, {others} others");
}

#[test]
fn a_walk_over_extension_headers_ends() {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 60, 64];
    bytes.resize(40, 1);
    // Each says that another of its kind follows.
    bytes.extend([60, 0, 0, 0, 0, 0, 0, 0].repeat(200));
    assert_eq!(packet::parse(bytes.as_slice()).unwrap_err().as_str(), "extension_header");
}

#[test]
fn an_opening_segment_is_one_with_syn_and_without_ack() {
    use nexa_differential::craft::{end, flag, tcp};
    let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
    let kind = |flags| packet::parse(tcp(peer, server, flags).as_slice()).unwrap().kind;
    assert_eq!(kind(flag::SYN), Kind::Opening);
    assert_eq!(kind(flag::SYN | flag::ACK), Kind::Plain);
    assert_eq!(kind(flag::ACK), Kind::Plain);
    assert_eq!(kind(flag::FIN | flag::ACK), Kind::Closing);
    assert_eq!(kind(flag::RST), Kind::Closing);
}

#[test]
fn a_gso_packet_counts_as_the_segments_it_becomes() {
    // 40 bytes of headers and 2,801 of payload in segments of 1,400: three packets, two of them full.
    assert_eq!(segments(2_841, 40, 1_400), (3, 2_841 + 2 * 40));
    assert_eq!(segments(1_440, 40, 1_400), (1, 1_440));
    assert_eq!(segments(1_441, 40, 1_400), (2, 1_441 + 40));
    assert_eq!(segments(60, 40, 0), (1, 60), "not segmented");
    assert_eq!(segments(40, 40, 1_400), (1, 40), "headers only");
}
