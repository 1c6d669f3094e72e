//! The nearest miss, case by case.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use nexa_policy::explain::{Difference, NearMiss};
use nexa_policy::model::{Effect, Model, Peer, Resource, Rule, Subject, Traffic};
use nexa_policy::{Probe, explain};
use nexa_types::{DeviceId, PortRange, Protocol, ResourceId, RuleId, UserId, When};
use uuid::Uuid;

fn model() -> Model {
    let alice = UserId(Uuid::from_u128(1));
    let bob = UserId(Uuid::from_u128(2));
    let [web, database] = [3, 4].map(|index| ResourceId(Uuid::from_u128(index)));
    let resource = |cidr: &str, ports: &str| Resource {
        cidrs: vec![cidr.parse().unwrap()],
        devices: vec![],
        traffic: vec![Traffic { protocol: Protocol::Tcp, ports: ports.parse().unwrap() }],
    };
    let rule = |number, user, resource| Rule {
        id: RuleId(number),
        effect: Effect::Allow,
        who: vec![Subject::User(user)],
        what: vec![resource],
        when: When::ALWAYS,
    };
    Model {
        peers: vec![Peer {
            device: DeviceId(Uuid::from_u128(9)),
            user: alice,
            groups: BTreeSet::new(),
            addresses: Vec::new(),
        }],
        resources: BTreeMap::from([
            (web, resource("10.20.0.10", "443")),
            (database, resource("10.20.0.20", "5432")),
        ]),
        rules: vec![rule(17, alice, web), rule(18, bob, database)],
        implicit: vec![],
        excluded: vec!["100.96.0.0/16".parse().unwrap()],
    }
}

fn nearest(destination: &str, protocol: u8, port: u16) -> Option<NearMiss> {
    nearest_of(&model(), destination, protocol, port)
}

fn nearest_of(model: &Model, destination: &str, protocol: u8, port: u16) -> Option<NearMiss> {
    let probe = Probe { destination: destination.parse().unwrap(), protocol, port };
    explain(model, &model.peers[0], &probe, now()).nearest
}

/// A Wednesday.
fn now() -> DateTime<Utc> {
    "2026-11-25T20:00:00Z".parse().unwrap()
}

#[test]
fn a_wrong_port_is_answered_with_the_granted_one() {
    let differs = Difference::Port(vec![PortRange::new(443, 443).unwrap()]);
    assert_eq!(nearest("10.20.0.10", 6, 8443), Some(NearMiss { rule: RuleId(17), differs }));
}

#[test]
fn a_wrong_protocol_is_answered_with_the_granted_one() {
    let differs = Difference::Protocol(vec![Protocol::Tcp]);
    assert_eq!(nearest("10.20.0.10", 17, 443), Some(NearMiss { rule: RuleId(17), differs }));
}

#[test]
fn what_others_may_reach_is_said_to_be_theirs() {
    assert_eq!(
        nearest("10.20.0.20", 6, 5432),
        Some(NearMiss { rule: RuleId(18), differs: Difference::Subject })
    );
}

#[test]
fn a_wrong_host_is_the_last_guess() {
    assert_eq!(
        nearest("10.20.0.11", 6, 443),
        Some(NearMiss { rule: RuleId(17), differs: Difference::Destination })
    );
}

#[test]
fn what_differs_in_more_than_one_thing_is_no_near_miss() {
    assert_eq!(nearest("10.20.0.11", 6, 8443), None);
    assert_eq!(nearest("10.20.0.10", 6, 443), None, "granted");
    assert_eq!(nearest("100.96.0.3", 6, 443), None, "no resource ever covers a tunnel address");
}

#[test]
fn what_only_the_time_is_in_the_way_of_is_nearest_and_says_when_it_is_not() {
    let mut model = model();
    // Another rule misses by the port only, and has a lower number.
    model.rules.push(Rule {
        id: RuleId(1),
        what: vec![ResourceId(Uuid::from_u128(5))],
        ..model.rules[0].clone()
    });
    let other_port = Resource {
        traffic: vec![Traffic { protocol: Protocol::Tcp, ports: "80".parse().unwrap() }],
        ..model.resources[&ResourceId(Uuid::from_u128(3))].clone()
    };
    model.resources.insert(ResourceId(Uuid::from_u128(5)), other_port);
    let mut at_times = |when: &str| {
        model.rules[0].when = serde_json::from_str(when).unwrap();
        nearest_of(&model, "10.20.0.10", 6, 443)
    };
    let time = |next: Option<&str>| {
        let next = next.map(|next| next.parse().unwrap());
        Some(NearMiss { rule: RuleId(17), differs: Difference::Time { next } })
    };
    let office =
        r#"{"weekly": [{"days": ["wed", "thu"], "from": "08:00", "to": "18:00", "zone": "Europe/Berlin"}]}"#;
    assert_eq!(at_times(office), time(Some("2026-11-26T07:00:00Z")));
    assert_eq!(at_times(r#"{"valid_from": "2026-12-01T00:00:00Z"}"#), time(Some("2026-12-01T00:00:00Z")));
    assert_eq!(at_times(r#"{"valid_until": "2026-11-25T20:00:00Z"}"#), time(None));
    assert_eq!(at_times(r#"{"valid_until": "2026-11-25T20:00:01Z"}"#), None, "granted");
    model.rules[0].when = serde_json::from_str(office).unwrap();
    let port = nearest_of(&model, "10.20.0.10", 6, 8443).unwrap();
    assert_eq!(port.rule, RuleId(1), "the time and the port are two things");
}
