//! Fragments: a later one goes where an admitted first one went, and nowhere else.

use std::net::IpAddr;

use nexa_differential::craft::{
    End, echo_reply, echo_request, end, first_fragment, flag, later_fragment, tcp, udp,
};
use nexa_gateway::dataplane::{EGRESS, INGRESS};

use crate::flows::{granted, revoked};
use crate::{Answer, apply, flat, open, run};

/// The peer's end and the server's, in both families.
fn ends(peer_port: u16, server_port: u16) -> [(End, End); 2] {
    [
        (end("100.96.0.2", peer_port), end("10.20.0.10", server_port)),
        (end("fd6e:7861::2", peer_port), end("fd20::10", server_port)),
    ]
}

#[test]
fn a_later_fragment_passes_only_after_an_admitted_first_one_of_its_datagram() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    for (peer, server) in ends(50_000, 53) {
        let whole = udp(peer, server);
        let [first, later] = [first_fragment(&whole, 7), later_fragment(&whole, 7, 2)];
        assert_eq!(run(&dataplane, INGRESS, &later), Answer::Drop, "before the first");
        assert_eq!(run(&dataplane, INGRESS, &first), Answer::Pass);
        assert_eq!(run(&dataplane, INGRESS, &later), Answer::Pass);
        assert_eq!(run(&dataplane, INGRESS, &later_fragment(&whole, 8, 2)), Answer::Drop, "another datagram");
        let elsewhere = udp(peer, End { address: neighbour(server.address), ..server });
        assert_eq!(run(&dataplane, INGRESS, &later_fragment(&elsewhere, 7, 2)), Answer::Drop);
        assert_eq!(
            run(&dataplane, EGRESS, &later_fragment(&udp(server, peer), 7, 2)),
            Answer::Drop,
            "the other way"
        );
    }
}

#[test]
fn answers_come_back_in_fragments_too() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    for (peer, server) in ends(77, 0) {
        let answer = echo_reply(server, peer);
        let [first, later] = [first_fragment(&answer, 9), later_fragment(&answer, 9, 3)];
        assert_eq!(run(&dataplane, EGRESS, &first), Answer::Drop, "nobody has asked");
        assert_eq!(run(&dataplane, EGRESS, &later), Answer::Drop);
        assert_eq!(run(&dataplane, INGRESS, &echo_request(peer, server)), Answer::Pass);
        assert_eq!(run(&dataplane, EGRESS, &later), Answer::Drop, "its first one was refused");
        assert_eq!(run(&dataplane, EGRESS, &first), Answer::Pass);
        assert_eq!(run(&dataplane, EGRESS, &later), Answer::Pass);
    }
}

#[test]
fn a_refused_first_fragment_lets_nothing_follow_and_takes_nothing_from_another() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    for (peer, server) in ends(50_000, 53) {
        let granted = udp(peer, server);
        let refused = udp(peer, End { port: 54, ..server });
        assert_eq!(run(&dataplane, INGRESS, &first_fragment(&refused, 7)), Answer::Drop);
        assert_eq!(run(&dataplane, INGRESS, &later_fragment(&refused, 7, 1)), Answer::Drop);
        assert_eq!(run(&dataplane, INGRESS, &first_fragment(&granted, 7)), Answer::Pass);
        assert_eq!(
            run(&dataplane, INGRESS, &first_fragment(&refused, 7)),
            Answer::Drop,
            "with the same number"
        );
        assert_eq!(run(&dataplane, INGRESS, &later_fragment(&granted, 7, 1)), Answer::Pass);
    }
}

#[test]
fn what_is_revoked_is_revoked_for_fragments_of_datagrams_under_way() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    for (peer, server) in ends(50_000, 53) {
        let whole = udp(peer, server);
        assert_eq!(run(&dataplane, INGRESS, &first_fragment(&whole, 7)), Answer::Pass);
        apply(&mut dataplane, &revoked());
        assert_eq!(run(&dataplane, INGRESS, &later_fragment(&whole, 7, 2)), Answer::Drop);
        apply(&mut dataplane, &granted());
        assert_eq!(run(&dataplane, INGRESS, &later_fragment(&whole, 7, 2)), Answer::Pass, "granted again");
    }
}

#[test]
fn no_fragment_hides_or_overwrites_the_header_that_was_judged() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    for (peer, server) in ends(40_000, 443) {
        let whole = tcp(peer, server, flag::SYN);
        let first = first_fragment(&whole, 7);
        for too_short in [first.len() - 21, first.len() - 25, first.len() - 35] {
            assert_eq!(run(&dataplane, INGRESS, &first[..too_short]), Answer::Drop, "a header cut short");
            assert_eq!(run(&dataplane, INGRESS, &later_fragment(&whole, 7, 2)), Answer::Drop);
        }
        assert_eq!(run(&dataplane, INGRESS, &first), Answer::Pass);
        assert_eq!(run(&dataplane, INGRESS, &later_fragment(&whole, 7, 1)), Answer::Drop, "where flags are");
        assert_eq!(run(&dataplane, INGRESS, &later_fragment(&whole, 7, 2)), Answer::Pass);
    }
}

#[test]
fn an_orphan_counts_for_its_peer_and_for_no_rule() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = ends(50_000, 53)[0];
    let orphan = later_fragment(&udp(peer, server), 7, 2);
    assert_eq!(run(&dataplane, INGRESS, &orphan), Answer::Drop);
    let counted: Vec<_> = flat(&dataplane.counters().unwrap()).into_iter().collect();
    let device = "00000000-0000-0000-0000-000000000001";
    let wanted = [
        (format!("{device} drops fragment"), 1),
        (format!("{device} received bytes"), orphan.len() as u64),
        (format!("{device} received packets"), 1),
        ("ingress fragment".to_owned(), 1),
    ];
    assert_eq!(counted, wanted);
}

fn neighbour(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + 1).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + 1).into()),
    }
}
