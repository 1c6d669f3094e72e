//! Flows that were live a moment ago: until when they are not looked at, and what ends that.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use nexa_abi::engine::{Now, Verdict, recall};
use nexa_abi::layout::{Direction, State};
use nexa_abi::packet::read_plain;
use nexa_differential::craft::{End, end, flag, tcp, udp};
use nexa_differential::engine::{Engine, moment};
use nexa_differential::policy;
use nexa_differential::trial::Answers as _;
use nexa_wire::snapshot::Snapshot;

use Direction::{Egress, Ingress};

const SECOND_NS: u64 = 1_000_000_000;

/// A device that may reach TCP 443 and UDP 53 of a network.
fn granted() -> Snapshot {
    let json = r#"{
        "peers": [{"device": "00000000-0000-0000-0000-000000000001", "name": "a", "owner": "a", "groups": [],
            "user": "00000000-0000-0000-0000-00000000000a", "v4": "100.96.0.2", "v6": "fd6e:7861::2",
            "public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="}],
        "resources": [{"id": "00000000-0000-0000-0000-0000000000ff", "name": "lan",
            "cidrs": ["10.20.0.0/24", "fd20::/64"],
            "traffic": [{"protocol": "tcp", "ports": "443"}, {"protocol": "udp", "ports": "53"}]}],
        "rules": [{"id": 7, "effect": "allow", "who": [{"kind": "everyone"}],
            "what": [{"kind": "resource", "id": "00000000-0000-0000-0000-0000000000ff"}]}]
    }"#;
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["network"] = serde_json::to_value(policy::network()).unwrap();
    serde_json::from_value(value).unwrap()
}

fn engine() -> Engine {
    let mut engine = Engine::default();
    engine.apply(&granted());
    engine
}

/// The device's end and the server's, in both families.
fn ends(server_port: u16) -> [(End, End); 2] {
    [
        (end("100.96.0.2", 40_000), end("10.20.0.10", server_port)),
        (end("fd6e:7861::2", 40_000), end("fd20::10", server_port)),
    ]
}

/// What is known of a packet some time after all began, under the policy in force, without a look at its flow.
fn recalled(engine: &Engine, after_ns: u64, direction: Direction, bytes: &[u8]) -> Option<Verdict> {
    let now = Now::at(&engine.tables, moment().boot_ns + after_ns);
    recall(&engine.tables, &read_plain(bytes)?, direction, &now)
}

fn passes(engine: &Engine, direction: Direction, bytes: &[u8]) -> bool {
    engine.answer(direction, bytes).passes()
}

#[test]
fn a_flow_is_not_looked_at_for_a_second() {
    for (device, server) in ends(53) {
        let engine = engine();
        let asked = udp(device, server);
        assert_eq!(recalled(&engine, 0, Ingress, &asked), None, "nobody has asked");
        assert!(passes(&engine, Ingress, &asked));
        let known = recalled(&engine, SECOND_NS - 1, Ingress, &asked).unwrap();
        assert_eq!((known.rule, known.dropped), (7, None));
        assert_eq!(recalled(&engine, SECOND_NS, Ingress, &asked), None, "now it is to be noted as heard");
        let elsewhere = udp(End { port: 40_001, ..device }, server);
        assert_eq!(recalled(&engine, 0, Ingress, &elsewhere), None, "another flow");
        assert_eq!(recalled(&engine, 0, Egress, &asked), None, "the other direction");
    }
}

#[test]
fn every_change_of_policy_ends_what_is_recalled() {
    for (device, server) in ends(53) {
        let (asked, answer) = (udp(device, server), udp(server, device));
        let revoked = Snapshot { rules: vec![], ..granted() };
        let mut renamed = granted();
        renamed.peers[0].name.push('b');
        for (after, still_granted) in [(revoked, false), (renamed, true)] {
            let mut engine = engine();
            assert!(passes(&engine, Ingress, &asked) && passes(&engine, Egress, &answer));
            assert!(recalled(&engine, 0, Ingress, &asked).is_some());
            assert!(recalled(&engine, 0, Egress, &answer).is_some());
            engine.apply(&after);
            assert_eq!(recalled(&engine, 0, Ingress, &asked), None);
            assert_eq!(recalled(&engine, 0, Egress, &answer), None);
            assert_eq!(passes(&engine, Egress, &answer), still_granted);
            assert_eq!(passes(&engine, Ingress, &asked), still_granted);
        }
    }
}

#[test]
fn under_another_generation_of_the_same_bank_nothing_is_recalled() {
    let (device, server) = ends(53)[0];
    let engine = engine();
    let asked = udp(device, server);
    assert!(passes(&engine, Ingress, &asked));
    let Now { state, ns } = Now::at(&engine.tables, moment().boot_ns);
    for (generation, known) in [(0, true), (1, false), (2, false), (1 << 32, false)] {
        let now = Now { state: State::new(state.generation() + generation), ns };
        let plain = read_plain(asked.as_slice()).unwrap();
        assert_eq!(recall(&engine.tables, &plain, Ingress, &now).is_some(), known, "{generation}");
    }
}

#[test]
fn what_changes_a_flow_is_judged() {
    for (device, server) in ends(443) {
        let engine = engine();
        let (more, answer) = (tcp(device, server, flag::ACK), tcp(server, device, flag::ACK));
        assert!(passes(&engine, Ingress, &tcp(device, server, flag::SYN)));
        assert!(recalled(&engine, 0, Ingress, &more).is_some());
        assert_eq!(recalled(&engine, 0, Egress, &answer), None, "the first word of the server");
        assert!(passes(&engine, Egress, &tcp(server, device, flag::SYN | flag::ACK)));
        assert!(recalled(&engine, 0, Egress, &answer).is_some());
        for flags in [flag::SYN, flag::SYN | flag::ACK, flag::FIN | flag::ACK, flag::RST] {
            assert_eq!(recalled(&engine, 0, Ingress, &tcp(device, server, flags)), None, "{flags}");
            assert_eq!(recalled(&engine, 0, Egress, &tcp(server, device, flags)), None, "{flags}");
        }
        assert!(passes(&engine, Ingress, &tcp(device, server, flag::SYN)));
        assert_eq!(recalled(&engine, 0, Egress, &answer), None, "it began anew, and nobody has answered");
    }
}

#[test]
fn nothing_is_recalled_after_the_end_of_a_verdict_or_of_the_lease() {
    let end_ns = SECOND_NS / 2;
    let (device, server) = ends(53)[0];
    let asked = udp(device, server);
    let until = policy::at() + chrono::TimeDelta::nanoseconds(i64::try_from(end_ns).unwrap());
    let mut ending = granted();
    ending.rules[0].when = nexa_types::When::new(None, Some(until), vec![]).unwrap();
    let mut expiring = granted();
    expiring.peers[0].expires_at = Some(until);
    for snapshot in [ending, expiring] {
        let mut engine = Engine::default();
        engine.apply(&snapshot);
        assert!(passes(&engine, Ingress, &asked));
        assert!(recalled(&engine, end_ns - 1, Ingress, &asked).is_some());
        assert_eq!(recalled(&engine, end_ns, Ingress, &asked), None);
        assert!(!engine.answer_at(until, Ingress, &asked).passes());
    }
}
