use proptest::prelude::*;

use super::*;

pub(super) const TCP: u8 = Protocol::Tcp.number();
pub(super) const UDP: u8 = Protocol::Udp.number();

/// A frame as the kernel gives it: header, IP, TCP with options, payload.
pub(super) fn frame(v6: bool, options: usize, payload: &[u8], size: u16, flags: u8) -> Vec<u8> {
    let transport: usize = if v6 { 40 } else { 20 };
    let mut packet = vec![0; transport + 20 + options];
    if v6 {
        packet[0] = 0x60;
        packet[6] = TCP;
        packet[8..40].copy_from_slice(&std::array::from_fn::<u8, 32, _>(|i| i as u8 + 1));
    } else {
        packet[0] = 0x45;
        packet[4..6].copy_from_slice(&0xfffe_u16.to_be_bytes());
        packet[9] = TCP;
        packet[12..20].copy_from_slice(&[10, 8, 0, 1, 10, 8, 0, 2]);
    }
    packet[transport + 4..transport + 8].copy_from_slice(&(u32::MAX - 1000).to_be_bytes());
    packet[transport + 12] = (((20 + options) / 4) << 4) as u8;
    packet[transport + TCP_FLAGS] = flags;
    packet.extend_from_slice(payload);
    let kind = if v6 { GSO_TCP_V6 } else { GSO_TCP_V4 };
    let mut frame = vec![NEEDS_CHECKSUM, kind, 0, 0];
    for word in [size, transport as u16, TCP_CHECKSUM as u16] {
        frame.extend_from_slice(&word.to_ne_bytes());
    }
    frame.extend_from_slice(&packet);
    frame
}

/// Datagrams of `size` bytes that were sent together, as the kernel gives them.
pub(super) fn datagrams(v6: bool, payload: &[u8], size: u16) -> Vec<u8> {
    let mut frame = frame(v6, 0, payload, size, 0);
    let transport = usize::from(frame[6]);
    // The shorter header in place of TCP's.
    frame.drain(HEADER + transport + UDP_HEADER..HEADER + transport + 20);
    frame[HEADER + if v6 { 6 } else { 9 }] = UDP;
    frame[HEADER + transport + 4..HEADER + transport + 8].fill(0);
    frame[1] = GSO_UDP;
    frame[8..10].copy_from_slice(&(UDP_CHECKSUM as u16).to_ne_bytes());
    frame
}

pub(super) fn segments(frame: &mut [u8]) -> Vec<Vec<u8>> {
    let Ok(Frame::Cut(cut)) = open(frame) else { panic!("not to be cut") };
    let packet = &frame[HEADER..];
    let mut out = [0; 65_536];
    (0..cut.count(packet))
        .map(|n| {
            let length = cut.write(packet, n, &mut out).unwrap();
            out[..length].to_vec()
        })
        .collect()
}

/// RFC 1071 as it is written: over data with its checksum in place the result is zero.
pub(super) fn plain_checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut total = 0_u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

proptest! {
    #[test]
    fn segments_are_the_stream_with_right_headers(
        v6: bool,
        options in (0usize..=10).prop_map(|words| words * 4),
        payload in proptest::collection::vec(any::<u8>(), 1..8000),
        size in 1u16..1500,
    ) {
        let mut large = frame(v6, options, &payload, size, 0x99);
        let segments = segments(&mut large);
        let transport = if v6 { 40 } else { 20 };
        let mut stream = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            let (network, tcp) = segment.split_at(transport);
            let body = &tcp[20 + options..];
            let last = n + 1 == segments.len();
            prop_assert!(body.len() == usize::from(size) || last && !body.is_empty());
            let sequence = (u32::MAX - 1000).wrapping_add(stream.len() as u32);
            prop_assert_eq!(&tcp[4..8], &sequence.to_be_bytes());
            let (first_only, last_only) = (tcp[TCP_FLAGS] & 0x80 != 0, tcp[TCP_FLAGS] & 0x09);
            prop_assert_eq!(first_only, n == 0);
            prop_assert_eq!(last_only, if last { 0x09 } else { 0 });
            prop_assert_eq!(tcp[TCP_FLAGS] & 0x10, 0x10);
            let length = (tcp.len() as u32).to_be_bytes();
            let pseudo = if v6 { &network[8..40] } else { &network[12..20] };
            prop_assert_eq!(plain_checksum(&[pseudo, &[0, TCP], &length, tcp]), 0);
            if v6 {
                prop_assert_eq!(&network[4..6], &(tcp.len() as u16).to_be_bytes());
            } else {
                prop_assert_eq!(&network[2..4], &(segment.len() as u16).to_be_bytes());
                prop_assert_eq!(&network[4..6], &0xfffe_u16.wrapping_add(n as u16).to_be_bytes());
                prop_assert_eq!(plain_checksum(&[network]), 0);
            }
            stream.extend_from_slice(body);
        }
        prop_assert_eq!(stream, payload);
    }

    #[test]
    fn datagrams_sent_together_are_each_a_packet_with_right_headers(
        v6: bool,
        payload in proptest::collection::vec(any::<u8>(), 1..8000),
        size in 1u16..1500,
    ) {
        let packets = segments(&mut datagrams(v6, &payload, size));
        let transport = if v6 { 40 } else { 20 };
        let mut bodies = payload.chunks(size.into());
        for (n, packet) in packets.iter().enumerate() {
            let (network, udp) = packet.split_at(transport);
            prop_assert_eq!(Some(&udp[UDP_HEADER..]), bodies.next());
            let length = (udp.len() as u16).to_be_bytes();
            prop_assert_eq!(&udp[4..6], &length);
            let pseudo = if v6 { &network[8..40] } else { &network[12..20] };
            prop_assert_eq!(plain_checksum(&[pseudo, &[0, UDP], &length, udp]), 0);
            prop_assert_ne!(&udp[6..8], &[0, 0]);
            if v6 {
                prop_assert_eq!(&network[4..6], &length);
            } else {
                prop_assert_eq!(&network[2..4], &(packet.len() as u16).to_be_bytes());
                prop_assert_eq!(&network[4..6], &0xfffe_u16.wrapping_add(n as u16).to_be_bytes());
                prop_assert_eq!(plain_checksum(&[network]), 0);
            }
        }
        prop_assert_eq!(bodies.next(), None);
    }

    #[test]
    fn no_frame_makes_it_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..6) {
        if let Some(byte) = frame.get_mut(1) {
            *byte = kind;
        }
        // A plausible start, so that more than the first check is reached.
        if frame.len() > HEADER {
            frame[6..8].copy_from_slice(&40_u16.to_ne_bytes());
            frame[HEADER] = if kind == GSO_TCP_V6 { 0x60 } else { 0x45 };
        }
        if let Ok(Frame::Cut(cut)) = open(&mut frame) {
            let packet = &frame[HEADER..];
            let mut out = [0; 256];
            for n in 0..cut.count(packet) {
                let _ = cut.write(packet, n, &mut out);
            }
        }
    }
}

#[test]
fn a_checksum_left_to_us_is_completed() {
    // UDP from 10.0.0.1 to 10.0.0.2, an odd length; the field holds the sum of the pseudo header.
    let udp = [0, 7, 0, 9, 0, 11, 0, 0, b'a', b'b', b'c'];
    let mut ip = vec![0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 11];
    ip.extend_from_slice(&udp);
    ip[26..28].copy_from_slice(&(!plain_checksum(&[&pseudo])).to_be_bytes());
    let mut frame = vec![NEEDS_CHECKSUM, GSO_NONE, 0, 0, 0, 0];
    frame.extend_from_slice(&20_u16.to_ne_bytes());
    frame.extend_from_slice(&6_u16.to_ne_bytes());
    frame.extend_from_slice(&ip);
    assert_eq!(open(&mut frame), Ok(Frame::Whole));
    assert_eq!(plain_checksum(&[&pseudo, &frame[HEADER + 20..]]), 0);
}

#[test]
fn frames_that_lie_are_refused() {
    let good = frame(false, 0, &[1; 100], 10, 0x10);
    assert!(matches!(open(&mut good.clone()), Ok(Frame::Cut(_))));
    for (at, value) in
        [(1, 3), (1, GSO_TCP_V6), (4, 0), (6, 19), (6, 255), (HEADER + 32, 0x40), (HEADER + 32, 0xf0)]
    {
        let mut bad = good.clone();
        bad[at] = value;
        let bad = if at == HEADER + 32 { &mut bad[..HEADER + 60] } else { &mut bad[..] };
        assert_eq!(open(bad), Err(BadFrame), "byte {at} = {value}");
    }
    assert_eq!(open(&mut good[..9].to_vec()), Err(BadFrame));
    let good = datagrams(true, &[1; 100], 10);
    assert!(matches!(open(&mut good.clone()), Ok(Frame::Cut(_))));
    for (at, value) in [(4, 0), (6, 39), (6, 200), (HEADER, 0x50)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(open(&mut bad), Err(BadFrame), "byte {at} = {value}");
    }
    assert_eq!(open(&mut good[..HEADER + 48].to_vec()), Err(BadFrame), "no payload");
    assert_eq!(open(&mut good[..HEADER].to_vec()), Err(BadFrame), "no packet");
}
