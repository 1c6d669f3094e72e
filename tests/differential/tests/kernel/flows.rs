//! Conversations: who may answer whom, and for how long.

use chrono::TimeDelta;
use nexa_differential::craft::{End, echo_reply, echo_request, end, flag, tcp, udp, unreachable};
use nexa_differential::policy;
use nexa_gateway::dataplane::{Dataplane, EGRESS, INGRESS};
use nexa_wire::snapshot::Snapshot;

use crate::{Answer, apply, apply_for, flat, open, run};

/// A peer that may reach TCP 443, UDP 53 and echo on the LAN, and another that may reach nothing.
pub fn granted() -> Snapshot {
    let json = r#"{
        "peers": [
            {"device": "00000000-0000-0000-0000-000000000001", "name": "a", "owner": "a", "groups": [],
             "user": "00000000-0000-0000-0000-00000000000a", "v4": "100.96.0.2", "v6": "fd6e:7861::2",
             "public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="},
            {"device": "00000000-0000-0000-0000-000000000002", "name": "b", "owner": "b", "groups": [],
             "user": "00000000-0000-0000-0000-00000000000b", "v4": "100.96.0.3", "v6": "fd6e:7861::3",
             "public_key": "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="}
        ],
        "resources": [{"id": "00000000-0000-0000-0000-0000000000ff", "name": "lan", "cidrs": ["10.20.0.0/24", "fd20::/64"],
            "traffic": [{"protocol": "tcp", "ports": "443"}, {"protocol": "udp", "ports": "53"}, {"protocol": "icmp"}]}],
        "rules": [{"id": 7, "effect": "allow",
            "who": [{"kind": "user", "id": "00000000-0000-0000-0000-00000000000a"}],
            "what": [{"kind": "resource", "id": "00000000-0000-0000-0000-0000000000ff"}]}]
    }"#;
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["network"] = serde_json::to_value(policy::network()).unwrap();
    serde_json::from_value(value).unwrap()
}

/// The same peers without the rule.
pub fn revoked() -> Snapshot {
    Snapshot { rules: vec![], ..granted() }
}

/// The peer's end and the server's, in both families.
fn ends(peer_port: u16, server_port: u16) -> [(End, End); 2] {
    [
        (end("100.96.0.2", peer_port), end("10.20.0.10", server_port)),
        (end("fd6e:7861::2", peer_port), end("fd20::10", server_port)),
    ]
}

fn from_peer(dataplane: &Dataplane, bytes: &[u8]) -> Answer {
    run(dataplane, INGRESS, bytes)
}

fn to_peer(dataplane: &Dataplane, bytes: &[u8]) -> Answer {
    run(dataplane, EGRESS, bytes)
}

#[test]
fn only_an_answer_passes_to_a_peer() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    for (peer, server) in ends(40_000, 443) {
        let answer = tcp(server, peer, flag::SYN | flag::ACK);
        assert_eq!(to_peer(&dataplane, &answer), Answer::Drop, "nobody has asked");
        assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::SYN)), Answer::Pass);
        assert_eq!(to_peer(&dataplane, &answer), Answer::Pass);

        let other_port = End { port: 40_001, ..peer };
        assert_eq!(
            to_peer(&dataplane, &tcp(server, other_port, flag::SYN)),
            Answer::Drop,
            "from port 443 too"
        );
        let other_server = End { port: 444, ..server };
        assert_eq!(to_peer(&dataplane, &tcp(other_server, peer, flag::ACK)), Answer::Drop);
        assert_eq!(to_peer(&dataplane, &udp(server, peer)), Answer::Drop, "another protocol");
    }
}

#[test]
fn an_echo_request_is_no_reply() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    // The last two read like type and code of a request, once the request is turned round.
    for (identifier, family) in [(77, 0), (77, 1), (8 << 8, 0), (128 << 8, 1)] {
        let (peer, server) = ends(identifier, 0)[family];
        assert_eq!(from_peer(&dataplane, &echo_request(peer, server)), Answer::Pass);
        assert_eq!(to_peer(&dataplane, &echo_reply(server, peer)), Answer::Pass);
        let same_identifier = End { port: identifier, ..server };
        assert_eq!(to_peer(&dataplane, &echo_request(same_identifier, peer)), Answer::Drop, "{identifier}");
        let other_identifier = End { port: 78, ..peer };
        assert_eq!(to_peer(&dataplane, &echo_reply(server, other_identifier)), Answer::Drop);
        assert_eq!(from_peer(&dataplane, &echo_reply(peer, server)), Answer::Drop, "a reply to nothing");
    }
}

#[test]
fn an_error_about_an_echo_is_about_a_request_and_nothing_that_resembles_one() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    for (peer, server) in ends(77, 0) {
        let asked = echo_request(peer, server);
        assert_eq!(from_peer(&dataplane, &asked), Answer::Pass);
        let about = |bytes: &[u8]| to_peer(&dataplane, &unreachable(server.address, peer.address, bytes));
        assert_eq!(about(&asked), Answer::Pass);
        let header_bytes = if peer.address.is_ipv4() { 20 } else { 40 };
        for (position, value) in [(0, asked[header_bytes] + 1), (1, 1)] {
            let mut other = asked.clone();
            other[header_bytes + position] = value;
            assert_eq!(about(&other), Answer::Drop, "type and code {:?}", &other[header_bytes..][..2]);
        }
        let mut other = asked.clone();
        other[header_bytes + 5] += 1;
        assert_eq!(about(&other), Answer::Drop, "another identifier");
    }
}

#[test]
fn an_error_passes_only_about_a_live_flow_and_in_its_direction() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    for (peer, server) in ends(50_000, 53) {
        let router = server.address;
        let asked = udp(peer, server);
        let answered = udp(server, peer);
        assert_eq!(
            to_peer(&dataplane, &unreachable(router, peer.address, &asked)),
            Answer::Drop,
            "nobody has asked"
        );
        assert_eq!(from_peer(&dataplane, &asked), Answer::Pass);
        assert_eq!(to_peer(&dataplane, &unreachable(router, peer.address, &asked)), Answer::Pass);
        assert_eq!(from_peer(&dataplane, &unreachable(peer.address, router, &answered)), Answer::Pass);

        let never_asked = udp(End { port: 50_001, ..peer }, server);
        assert_eq!(to_peer(&dataplane, &unreachable(router, peer.address, &never_asked)), Answer::Drop);
        assert_eq!(
            to_peer(&dataplane, &unreachable(router, peer.address, &answered)),
            Answer::Drop,
            "the peer never got it from itself"
        );
        assert_eq!(from_peer(&dataplane, &unreachable(peer.address, router, &asked)), Answer::Drop);
        let cut = &unreachable(router, peer.address, &asked)[..asked.len() - 10];
        assert_eq!(to_peer(&dataplane, cut), Answer::Drop, "too short to say what it is about");
    }
}

#[test]
fn an_error_about_one_peers_flow_never_reaches_another() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = ends(50_000, 53)[0];
    let asked = udp(peer, server);
    assert_eq!(from_peer(&dataplane, &asked), Answer::Pass);
    let stranger = "100.96.0.3".parse().unwrap();
    assert_eq!(to_peer(&dataplane, &unreachable(server.address, stranger, &asked)), Answer::Drop);
}

#[test]
fn revocation_ends_a_live_flow_in_both_directions() {
    for (peer, server) in ends(40_000, 443) {
        let request = tcp(peer, server, flag::ACK);
        let response = tcp(server, peer, flag::ACK);
        for first_to_notice_is_the_peer in [true, false] {
            let mut dataplane = open();
            apply(&mut dataplane, &granted());
            assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::SYN)), Answer::Pass);
            assert_eq!(to_peer(&dataplane, &response), Answer::Pass);

            apply(&mut dataplane, &revoked());
            if first_to_notice_is_the_peer {
                assert_eq!(from_peer(&dataplane, &request), Answer::Drop);
            }
            assert_eq!(to_peer(&dataplane, &response), Answer::Drop);
            assert_eq!(from_peer(&dataplane, &request), Answer::Drop);

            apply(&mut dataplane, &granted());
            assert_eq!(
                to_peer(&dataplane, &response),
                Answer::Drop,
                "granted again, but the peer has not spoken"
            );
            assert_eq!(from_peer(&dataplane, &request), Answer::Pass);
            assert_eq!(to_peer(&dataplane, &response), Answer::Pass);
        }
    }
}

#[test]
fn a_change_that_keeps_the_grant_keeps_the_flow() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = ends(40_000, 443)[0];
    assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::SYN)), Answer::Pass);
    let mut wider = granted();
    wider.resources[0].cidrs.push("10.30.0.0/24".parse().unwrap());
    apply(&mut dataplane, &wider);
    assert_eq!(to_peer(&dataplane, &tcp(server, peer, flag::SYN | flag::ACK)), Answer::Pass);
}

#[test]
fn a_removed_device_is_unknown_at_once() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = ends(40_000, 443)[0];
    assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::SYN)), Answer::Pass);
    let mut without = granted();
    without.peers.remove(0);
    apply(&mut dataplane, &without);
    assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::ACK)), Answer::Drop);
    assert_eq!(to_peer(&dataplane, &tcp(server, peer, flag::ACK)), Answer::Drop);
    let counted = flat(&dataplane.counters().unwrap());
    assert_eq!(counted.get("ingress unknown_source"), Some(&1), "{counted:?}");
    assert_eq!(counted.get("egress unknown_peer"), Some(&1), "{counted:?}");
}

#[test]
fn a_flow_is_not_that_of_the_device_which_has_its_address_next() {
    for (peer, server) in ends(40_000, 443) {
        let (request, answer) = (tcp(peer, server, flag::ACK), tcp(server, peer, flag::ACK));
        let mut dataplane = open();
        apply(&mut dataplane, &granted());
        assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::SYN)), Answer::Pass);
        let mut swapped = granted();
        let [a, b] = &mut swapped.peers[..] else { unreachable!("there are two") };
        std::mem::swap(&mut a.v4, &mut b.v4);
        std::mem::swap(&mut a.v6, &mut b.v6);
        apply(&mut dataplane, &swapped);
        assert_eq!(to_peer(&dataplane, &answer), Answer::Drop, "b has the address and has asked for nothing");
        assert_eq!(from_peer(&dataplane, &request), Answer::Drop, "b is granted nothing");
        apply(&mut dataplane, &granted());
        // It is still a's conversation.
        assert_eq!(from_peer(&dataplane, &request), Answer::Pass);
    }
}

#[test]
fn an_error_about_a_flow_of_an_address_given_up_does_not_bring_it_back() {
    for (peer, server) in ends(50_000, 53) {
        let mut dataplane = open();
        apply(&mut dataplane, &granted());
        let (asked, answer) = (udp(peer, server), udp(server, peer));
        assert_eq!(from_peer(&dataplane, &asked), Answer::Pass);
        let mut moved = granted();
        moved.peers[0].v4 = "100.96.0.9".parse().unwrap();
        moved.peers[0].v6 = "fd6e:7861::9".parse().unwrap();
        apply(&mut dataplane, &moved);
        let now = if peer.address.is_ipv4() { "100.96.0.9" } else { "fd6e:7861::9" }.parse().unwrap();
        assert_eq!(from_peer(&dataplane, &unreachable(now, server.address, &answer)), Answer::Drop);
        assert_eq!(to_peer(&dataplane, &unreachable(server.address, now, &asked)), Answer::Drop);
        assert_eq!(to_peer(&dataplane, &answer), Answer::Drop, "nobody has the address");
    }
}

#[test]
fn a_device_that_left_and_returns_has_none_of_its_flows() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = ends(40_000, 443)[0];
    assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::SYN)), Answer::Pass);
    let mut without = granted();
    without.peers.remove(0);
    apply(&mut dataplane, &without);
    apply(&mut dataplane, &granted());
    assert_eq!(to_peer(&dataplane, &tcp(server, peer, flag::ACK)), Answer::Drop);
}

#[test]
fn after_the_lease_nothing_passes() {
    let mut dataplane = open();
    apply_for(&mut dataplane, &granted(), TimeDelta::zero());
    let (peer, server) = ends(40_000, 443)[0];
    assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::SYN)), Answer::Drop);
    let counted = flat(&dataplane.counters().unwrap());
    assert_eq!(counted.get("ingress lease_expired"), Some(&1), "{counted:?}");
}

#[test]
fn without_a_policy_nothing_passes() {
    let dataplane = open();
    let (peer, server) = ends(40_000, 443)[0];
    assert_eq!(from_peer(&dataplane, &tcp(peer, server, flag::SYN)), Answer::Drop);
    assert_eq!(to_peer(&dataplane, &tcp(server, peer, flag::ACK)), Answer::Drop);
}

#[test]
fn what_is_sent_to_a_peer_is_counted_only_if_it_passes() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = ends(40_000, 443)[0];
    let response = tcp(server, peer, flag::ACK);
    to_peer(&dataplane, &response);
    from_peer(&dataplane, &tcp(peer, server, flag::SYN));
    to_peer(&dataplane, &response);
    let counters = dataplane.counters().unwrap();
    let counted = &counters.peers[0];
    assert_eq!((counted.sent_packets, counted.sent_bytes), (1, response.len() as u64));
    assert_eq!(counted.drops, [("no_flow", 1)]);
    assert_eq!((counted.received_packets, counted.received_bytes), (1, 60));
}

#[test]
fn all_packets_of_a_flow_count_for_the_rule_that_allowed_it() {
    let mut dataplane = open();
    apply(&mut dataplane, &granted());
    let (peer, server) = (end("100.96.0.2", 40_000), end("10.20.0.10", 443));
    let packets = [
        tcp(peer, server, flag::SYN),
        tcp(server, peer, flag::SYN | flag::ACK),
        tcp(peer, server, flag::ACK),
    ];
    assert_eq!(from_peer(&dataplane, &packets[0]), Answer::Pass);
    assert_eq!(to_peer(&dataplane, &packets[1]), Answer::Pass);
    assert_eq!(from_peer(&dataplane, &packets[2]), Answer::Pass);
    let refused = tcp(peer, End { port: 444, ..server }, flag::SYN);
    assert_eq!(from_peer(&dataplane, &refused), Answer::Drop);
    assert_eq!(
        to_peer(&dataplane, &tcp(server, End { port: 1, ..peer }, flag::SYN)),
        Answer::Drop,
        "no rule was asked"
    );
    let counted = flat(&dataplane.counters().unwrap());
    let rules: Vec<_> = counted.iter().filter(|(key, _)| key.starts_with("rule ")).collect();
    let bytes: usize = packets.iter().map(Vec::len).sum();
    let wanted = [
        ("rule 7 allowed bytes", bytes as u64),
        ("rule 7 allowed packets", 3),
        ("rule default_deny denied bytes", refused.len() as u64),
        ("rule default_deny denied packets", 1),
    ];
    let rules: Vec<_> = rules.into_iter().map(|(key, count)| (key.as_str(), *count)).collect();
    assert_eq!(rules, wanted);
    let live = |dataplane: &Dataplane| dataplane.reader().flows().unwrap();
    assert_eq!(live(&dataplane).iter().map(|(_, flow, _)| flow.rule).collect::<Vec<_>>(), [7]);
    apply(&mut dataplane, &revoked());
    assert!(live(&dataplane).is_empty(), "what was revoked is not told as live");
}
