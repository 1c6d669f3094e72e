//! What the programs tell of packets, and of how many they do not.

use std::iter::from_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use nexa_abi::engine::NOBODY;
use nexa_abi::layout::{Direction, Event, FLOW_BEGAN, Family, FlowKey};
use nexa_abi::reason::Reason;
use nexa_differential::craft::{End, end, flag, tcp, udp};
use nexa_gateway::dataplane::{Dataplane, EGRESS, INGRESS, boot_clock_ns};
use nexa_gateway::events::Ring;
use nexa_types::{DeviceId, PublicKey, ResourceId, RuleId};
use nexa_wire::snapshot::{Effect, Peer, Resource, Rule, Snapshot, Subject, Target};
use uuid::Uuid;

use crate::flows::granted;
use crate::{Answer, apply, open, run};

/// What is told at once of one device and kind, before a rate holds it back.
const BURST: usize = 20;

/// A tuple as programs read it.
fn tuple(from: End, to: End, protocol: u8) -> FlowKey {
    let address = |end: End| match end.address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    };
    FlowKey {
        source: address(from),
        destination: address(to),
        source_port: from.port.to_be_bytes(),
        destination_port: to.port.to_be_bytes(),
        family: if from.address.is_ipv4() { Family::V4 } else { Family::V6 } as u8,
        protocol,
        answers: 0,
        zero: 0,
    }
}

/// The next event, but for its time, which is now.
fn next(ring: &mut Ring) -> Event {
    let event = ring.take().expect("nothing was told");
    let ago_ns = boot_clock_ns().unwrap().abs_diff(event.boot_ns);
    assert!(ago_ns < 60_000_000_000, "told {ago_ns} ns away from now");
    Event { boot_ns: 0, ..event }
}

fn index_of_first(dataplane: &Dataplane) -> u32 {
    let (_, installer) = dataplane.intent().unwrap();
    let is_first = |(_, device): &(u32, DeviceId)| device.0.as_u128() == 1;
    installer.devices().find(is_first).unwrap().0
}

#[test]
fn a_drop_and_a_flow_that_began_are_told_with_all_that_is_known_of_them() {
    let mut dataplane = open();
    let mut ring = dataplane.take_events().unwrap();
    let mut snapshot = granted();
    let denied = Resource {
        id: ResourceId(Uuid::from_u128(0xfe)),
        cidrs: vec!["10.20.0.66/32".parse().unwrap()],
        ..snapshot.resources[0].clone()
    };
    snapshot.rules.push(Rule {
        id: RuleId(9),
        effect: Effect::Deny,
        who: vec![Subject::Everyone],
        what: vec![Target::Resource(denied.id)],
        ..snapshot.rules[0].clone()
    });
    snapshot.resources.push(denied);
    apply(&mut dataplane, &snapshot);
    let peer = index_of_first(&dataplane);
    let (laptop, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
    let refused = end("10.20.0.66", 443);
    let of = |what, rule, from, to| Event {
        boot_ns: 0,
        generation: dataplane.generation().0,
        peer,
        rule,
        what,
        direction: Direction::Ingress as u32,
        length_bytes: u32::try_from(tcp(from, to, flag::SYN).len()).unwrap(),
        untold: 0,
        tuple: tuple(from, to, 6),
    };
    assert_eq!(run(&dataplane, INGRESS, &tcp(laptop, server, flag::SYN)), Answer::Pass);
    assert_eq!(next(&mut ring), of(FLOW_BEGAN, 7, laptop, server));
    assert_eq!(run(&dataplane, EGRESS, &tcp(server, laptop, flag::ACK)), Answer::Pass);
    assert!(ring.take().is_none(), "a packet of a flow is nothing new");
    assert_eq!(run(&dataplane, INGRESS, &tcp(laptop, refused, flag::SYN)), Answer::Drop);
    assert_eq!(next(&mut ring), of(Reason::RuleDeny as u32, 9, laptop, refused));
    let unasked = End { port: 444, ..server };
    assert_eq!(run(&dataplane, EGRESS, &tcp(unasked, laptop, flag::ACK)), Answer::Drop);
    let egress =
        Event { direction: Direction::Egress as u32, ..of(Reason::NoFlow as u32, 0, unasked, laptop) };
    assert_eq!(next(&mut ring), egress);
    let stranger = end("100.96.0.77", 1);
    assert_eq!(run(&dataplane, INGRESS, &tcp(stranger, server, flag::SYN)), Answer::Drop);
    assert_eq!(
        next(&mut ring),
        Event { peer: NOBODY, ..of(Reason::UnknownSource as u32, 0, stranger, server) }
    );
    assert!(ring.take().is_none());
}

#[test]
fn beyond_a_burst_drops_and_flows_are_counted_apart_and_the_next_that_is_told_says_how_many() {
    let mut dataplane = open();
    let mut ring = dataplane.take_events().unwrap();
    apply(&mut dataplane, &granted());
    let from = |port| end("100.96.0.2", port);
    let ask = |from| run(&dataplane, INGRESS, &udp(from, end("10.20.0.10", 53)));
    let refused = |from| run(&dataplane, INGRESS, &udp(from, end("10.20.0.10", 54)));
    // By kind: drops, and flows that began.
    let (mut sent, mut told, mut untold) = ([0_usize; 2], [0; 2], [0; 2]);
    let mut take = |told: &mut [usize; 2]| {
        while let Some(event) = ring.take() {
            let kind = usize::from(event.what == FLOW_BEGAN);
            told[kind] += 1;
            untold[kind] += event.untold as usize;
        }
    };
    for port in 1..=200 {
        assert_eq!(refused(from(port)), Answer::Drop);
        sent[0] += 1;
        if port <= 100 {
            assert_eq!(ask(from(port)), Answer::Pass);
            sent[1] += 1;
        }
    }
    take(&mut told);
    for kind in [0, 1] {
        assert!((BURST..sent[kind]).contains(&told[kind]), "{told:?} of {sent:?} were told");
    }
    // What was held back is told of with the next, once the rate allows one.
    let (before, start) = (told, Instant::now());
    for port in 1_000.. {
        let waits = [0, 1].map(|kind| told[kind] == before[kind]);
        if waits == [false, false] {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no more than {told:?} were told");
        if waits[0] {
            assert_eq!(refused(from(port)), Answer::Drop);
            sent[0] += 1;
        }
        if waits[1] {
            assert_eq!(ask(from(port)), Answer::Pass);
            sent[1] += 1;
        }
        take(&mut told);
    }
    for kind in [0, 1] {
        assert_eq!(told[kind] + untold[kind], sent[kind], "all are told or said to be not");
    }
}

/// So many devices that may reach what the first one may.
fn many(devices: u32) -> Snapshot {
    let mut snapshot = granted();
    let first = snapshot.peers.remove(0);
    let device = |n: u32| {
        let mut key = [3; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        Peer {
            device: DeviceId(Uuid::from_u128(u128::from(n) + 1)),
            public_key: PublicKey::from_bytes(key).unwrap(),
            v4: Ipv4Addr::from_bits(first.v4.to_bits() + n),
            v6: Ipv6Addr::from_bits(first.v6.to_bits() + u128::from(n)),
            ..first.clone()
        }
    };
    snapshot.peers = (0..devices).map(device).collect();
    snapshot
}

#[test]
fn what_finds_no_room_is_told_of_with_what_does() {
    /// Fewer than a burst, and so all to be told.
    const EACH: u16 = 15;
    let mut dataplane = open();
    let mut ring = dataplane.take_events().unwrap();
    let snapshot = many(250);
    apply(&mut dataplane, &snapshot);
    let refuse = |peer: &Peer, port| {
        let from = End { address: peer.v4.into(), port };
        assert_eq!(run(&dataplane, INGRESS, &udp(from, end("10.20.0.10", 54))), Answer::Drop);
    };
    for peer in &snapshot.peers {
        (1..=EACH).for_each(|port| refuse(peer, port));
    }
    let first: Vec<Event> = from_fn(|| ring.take()).collect();
    let sent = snapshot.peers.len() * usize::from(EACH);
    assert!(first.len() < sent, "{sent} events are not enough to fill the ring");
    assert!(first.iter().all(|event| event.untold == 0), "none was told after one that was not");
    // Once there is room, each device's next says how many of its own had none.
    snapshot.peers.iter().for_each(|peer| refuse(peer, EACH + 1));
    let then: Vec<Event> = from_fn(|| ring.take()).collect();
    assert_eq!(then.len(), snapshot.peers.len());
    let untold: usize = then.iter().map(|event| event.untold as usize).sum();
    assert_eq!(first.len() + untold, sent, "all are told or said to be not");
}
