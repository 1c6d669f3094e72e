extern crate std;

use core::cell::Cell;
use std::vec;
use std::vec::Vec;

use super::*;

const PORT: u16 = 51_900;
/// A receiver index that a peer was given; its low byte is any.
const KNOWN: u32 = 0x00ab_cd00;

/// One local address of each family, one receiver, and a clock that tests set.
struct World {
    now_ns: Cell<u64>,
    budget: Cell<u64>,
}

impl World {
    fn new() -> Self {
        Self { now_ns: Cell::new(1_000_000_000_000), budget: Cell::new(0) }
    }
}

impl Tables for World {
    fn is_local(&self, key: &LocalKey) -> bool {
        let local: [IpAddr; 2] = ["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()];
        local.map(LocalKey::new).contains(key)
    }

    fn receivers(&self, word: u32) -> u64 {
        let (known_word, bit) = receiver_position(KNOWN >> 8);
        if word == known_word { bit } else { 0 }
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn budget_whole_ns(&self) -> u64 {
        self.budget.get()
    }

    fn set_budget_whole_ns(&self, at: u64) {
        self.budget.set(at);
    }
}

fn config(flags: u16) -> Config {
    Config { port: PORT.to_be_bytes(), flags, initiation_interval_ns: 0, initiation_burst_ns: 0 }
}

/// A WireGuard message: a type, three reserved bytes, and `index` wherever a message may have one.
fn message(head: [u8; 4], index: u32, bytes: usize) -> Vec<u8> {
    let mut message = vec![0x55; bytes];
    for (at, part) in [(0, head), (4, index.to_le_bytes()), (8, index.to_le_bytes())] {
        for (to, from) in message.iter_mut().skip(at).zip(part) {
            *to = from;
        }
    }
    message
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    [&[0x9c, 0x40], &port.to_be_bytes()[..], &length, &[0, 0], payload].concat()
}

fn v4_to(to: [u8; 4], options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = u8::try_from(20 + options.len()).unwrap();
    let total = u16::try_from(usize::from(header) + payload.len()).unwrap().to_be_bytes();
    let fixed = [0x40 | (header / 4), 0, total[0], total[1], 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 7];
    [&[2; 12][..], &[0x08, 0x00], &fixed[..], &to, options, payload].concat()
}

fn v4(payload: &[u8]) -> Vec<u8> {
    v4_to([192, 0, 2, 10], &[], payload)
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let from: core::net::Ipv6Addr = "2001:db8:1::7".parse().unwrap();
    let to: core::net::Ipv6Addr = "2001:db8::10".parse().unwrap();
    let fixed = [0x60, 0, 0, 0, length[0], length[1], next, 64];
    [&[2; 12][..], &[0x86, 0xdd], &fixed[..], &from.octets(), &to.octets(), payload].concat()
}

fn judged(frame: &[u8], flags: u16) -> Verdict {
    judge(frame, &config(flags), &World::new())
}

/// What the protocol's tables say of a message, a length at a time.
fn oracle(head: [u8; 4], index: u32, bytes: usize, flags: u16) -> Verdict {
    const SHORTEST: usize = 32;
    let lengths = [(1, 148, 148), (2, 92, 92), (3, 64, 64), (4, 32, 65_507)];
    if bytes < SHORTEST {
        return Verdict::Length;
    }
    let Some((_, least, most)) = lengths.into_iter().find(|(of, ..)| *of == head[0]) else {
        return Verdict::MessageType;
    };
    let most = if flags & JOINED == 0 { most } else { 65_507 };
    if head[1..] != [0; 3] {
        Verdict::Reserved
    } else if !(least..=most).contains(&bytes) {
        Verdict::Length
    } else if head[0] != 1 && flags & CHECK_RECEIVERS != 0 && index >> 8 != KNOWN >> 8 {
        Verdict::UnknownReceiver
    } else {
        Verdict::Passed
    }
}

#[test]
fn every_type_and_length_is_judged_as_the_protocol_says() {
    for flags in [0, CHECK_RECEIVERS, JOINED, CHECK_RECEIVERS | JOINED] {
        for bytes in (0..200).chain([1_420 + 32, 1_472]) {
            for kind in 0..=255 {
                for (reserved, index) in [(0, KNOWN | 7), (0, KNOWN + 0x100), (1, KNOWN), (0x80, KNOWN)] {
                    for position in 1..4 {
                        let mut head = [kind, 0, 0, 0];
                        head[position] = reserved;
                        let payload = udp(PORT, &message(head, index, bytes));
                        let wanted = oracle(head, index, bytes, flags);
                        assert_eq!(judged(&v4(&payload), flags), wanted, "{head:?} {bytes} {flags}");
                        assert_eq!(judged(&v6(UDP, &payload), flags), wanted, "{head:?} {bytes} {flags}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_full_packet_is_not_padded_to_sixteen_bytes() {
    let full = message([4, 0, 0, 0], KNOWN, 1_420 + 32);
    assert_ne!((1_420 + 32) % 16, 0);
    assert_eq!(judged(&v4(&udp(PORT, &full)), CHECK_RECEIVERS), Verdict::Passed);
}

#[test]
fn only_datagrams_to_the_port_on_an_address_of_this_host_are_judged() {
    let junk = udp(PORT, b"junk");
    assert_eq!(judged(&v4(&junk), 0), Verdict::Length);
    assert_eq!(judged(&v4(&udp(PORT + 1, b"junk")), 0), Verdict::NotOurs);
    assert_eq!(judged(&v4_to([192, 0, 2, 11], &[], &junk), 0), Verdict::NotOurs, "only forwarded");
    let mut tcp = v4(&junk);
    tcp[23] = 6;
    assert_eq!(judged(&tcp, 0), Verdict::NotOurs);
    let mut arp = v4(&junk);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(judged(&arp, 0), Verdict::NotOurs);
    let off = Config::default();
    assert_eq!(judge(&v4(&udp(0, b"junk"))[..], &off, &World::new()), Verdict::NotOurs);
}

#[test]
fn options_and_one_vlan_tag_are_stepped_over_and_padding_is_no_payload() {
    let good = udp(PORT, &message([4, 0, 0, 0], KNOWN, 32));
    let junk = udp(PORT, &message([9, 0, 0, 0], KNOWN, 32));
    for (payload, wanted) in [(good, Verdict::Passed), (junk, Verdict::MessageType)] {
        assert_eq!(judged(&v4_to([192, 0, 2, 10], &[1; 40], &payload), CHECK_RECEIVERS), wanted);
        for tag in [[0x81, 0x00], [0x88, 0xa8]] {
            for untagged in [v4(&payload), v6(UDP, &payload)] {
                let tagged = [&untagged[..12], &tag, &[0, 5], &untagged[12..]].concat();
                assert_eq!(judged(&tagged, CHECK_RECEIVERS), wanted);
                let twice = [&untagged[..12], &tag, &[0, 5], &tagged[12..]].concat();
                assert_eq!(judged(&twice, CHECK_RECEIVERS), Verdict::NotOurs);
            }
        }
        let padded = [&v4(&payload)[..], &[0; 30]].concat();
        assert_eq!(judged(&padded, CHECK_RECEIVERS), wanted);
    }
    let short = [&v4(&udp(PORT, b""))[..], &message([4, 0, 0, 0], KNOWN, 40)].concat();
    assert_eq!(judged(&short, CHECK_RECEIVERS), Verdict::Length, "the padding is no message");
}

#[test]
fn fragments_and_extension_headers_are_left_to_the_stack() {
    let junk = udp(PORT, b"junk");
    for (flags, offset) in [(0x20, 0), (0, 1), (0x1f, 0xff)] {
        let mut fragment = v4(&junk);
        fragment[20..22].copy_from_slice(&[flags, offset]);
        assert_eq!(judged(&fragment, 0), Verdict::NotOurs);
    }
    for next in [0, 43, 44, 60] {
        let extended = [&[17, 0, 1, 4, 0, 0, 0, 0], &junk[..]].concat();
        assert_eq!(judged(&v6(next, &extended), 0), Verdict::NotOurs);
    }
}

#[test]
fn lengths_that_contradict_each_other_are_dropped() {
    let payload = udp(PORT, &message([4, 0, 0, 0], KNOWN, 32));
    let mut beyond_the_packet = v4(&payload);
    beyond_the_packet[17] -= 1;
    assert_eq!(judged(&[&beyond_the_packet[..], &[0; 9]].concat(), 0), Verdict::Length);
    let whole = v4(&payload);
    assert_eq!(judged(&whole[..whole.len() - 1], 0), Verdict::Length);
    let mut no_header = whole.clone();
    no_header[38..40].copy_from_slice(&[0, 7]);
    assert_eq!(judged(&no_header, 0), Verdict::Length);
}

#[test]
fn initiations_have_one_budget_with_a_burst() {
    let world = World::new();
    let config =
        Config { initiation_interval_ns: 1_000, initiation_burst_ns: 9_000, ..config(CHECK_RECEIVERS) };
    let first = v4(&udp(PORT, &message([1, 0, 0, 0], 0, 148)));
    let passed =
        |world: &World| (0..100).filter(|_| judge(&first[..], &config, world) == Verdict::Passed).count();
    assert_eq!(judge(&v4(&udp(PORT, b"junk"))[..], &config, &world), Verdict::Length);
    assert_eq!(passed(&world), 10, "the burst");
    assert_eq!(judge(&first[..], &config, &world), Verdict::InitiationBudget);
    world.now_ns.set(world.now_ns.get() + 3_000);
    assert_eq!(passed(&world), 3, "one an interval");
    world.now_ns.set(world.now_ns.get() + 1_000_000_000);
    assert_eq!(passed(&world), 10, "it is never more than the burst");
    let data = v4(&udp(PORT, &message([4, 0, 0, 0], KNOWN, 32)));
    assert_eq!(judge(&data[..], &config, &world), Verdict::Passed, "sessions do not wait for it");
}

#[test]
fn joined_datagrams_are_judged_by_the_first_and_an_initiation_at_their_end_gets_through() {
    let rekey = [message([1, 0, 0, 0], 0, 148), message([4, 0, 0, 0], KNOWN, 96)].concat();
    let forgotten = [message([4, 0, 0, 0], 0, 1_452), message([1, 0, 0, 0], 0, 148)].concat();
    let both = CHECK_RECEIVERS | JOINED;
    for joined in [rekey, forgotten] {
        assert_eq!(judged(&v4(&udp(PORT, &joined)), both), Verdict::Passed);
    }
    let junk = message([4, 0, 0, 0], 0, 1_600);
    assert_eq!(judged(&v4(&udp(PORT, &junk)), both), Verdict::UnknownReceiver);
    // It takes from the budget as if it had come alone.
    let forgotten = [message([4, 0, 0, 0], 0, 32), message([1, 0, 0, 0], 0, 148)].concat();
    let config = Config { initiation_interval_ns: 1_000, ..config(both) };
    let world = World::new();
    let frame = v4(&udp(PORT, &forgotten));
    assert_eq!(judge(&frame[..], &config, &world), Verdict::Passed);
    assert_eq!(judge(&frame[..], &config, &world), Verdict::InitiationBudget);
}

#[test]
fn no_frame_makes_the_guard_panic() {
    let whole = v4_to([192, 0, 2, 10], &[1; 8], &udp(PORT, &message([1, 0, 0, 0], 0, 148)));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200_000 {
        let mut frame = whole.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % frame.len().min(80);
            frame[at] = (state >> 24) as u8;
        }
        frame.truncate(frame.len() - round % frame.len());
        judged(&frame, CHECK_RECEIVERS | JOINED);
    }
}

#[test]
fn counters_have_room_for_every_verdict() {
    for (position, verdict) in Verdict::DROPS.iter().enumerate() {
        assert_eq!(*verdict as usize, position + 2, "{}", verdict.as_str());
        assert!(verdict.is_drop() && (*verdict as u32) < VERDICTS);
    }
    assert!(!Verdict::NotOurs.is_drop() && !Verdict::Passed.is_drop());
}
