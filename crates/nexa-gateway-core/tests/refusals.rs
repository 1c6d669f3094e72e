//! Snapshots that contradict themselves are refused as a whole.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use chrono::DateTime;
use nexa_abi::layout::MAX_RULES;
use nexa_gateway_core::model::ModelError;
use nexa_gateway_core::{LowerError, lower};
use nexa_types::{ResourceId, RuleId};
use nexa_wire::snapshot::{Peer, Snapshot, Target};

fn sample() -> Snapshot {
    serde_json::from_str(include_str!("../../nexa-wire/tests/snapshot-v1.json")).unwrap()
}

fn second_peer(of: &Snapshot) -> Peer {
    Peer {
        device: nexa_types::DeviceId(uuid::Uuid::from_u128(9)),
        public_key: "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=".parse().unwrap(),
        v4: "100.96.0.3".parse().unwrap(),
        v6: "fd6e:7861::3".parse().unwrap(),
        ..of.peers[0].clone()
    }
}

fn refusal(change: impl FnOnce(&mut Snapshot)) -> ModelError {
    let mut snapshot = sample();
    let second = second_peer(&snapshot);
    snapshot.peers.push(second);
    lower(&snapshot, &[], DateTime::UNIX_EPOCH).expect("right before the change");
    change(&mut snapshot);
    match lower(&snapshot, &[], DateTime::UNIX_EPOCH) {
        Err(LowerError::Model(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_or_key_of_two_devices_is_refused() {
    assert!(matches!(refusal(|s| s.peers[1].v4 = s.peers[0].v4), ModelError::AddressTwice(_)));
    assert!(matches!(refusal(|s| s.peers[1].v6 = s.peers[0].v6), ModelError::AddressTwice(_)));
    assert!(matches!(refusal(|s| s.peers[1].public_key = s.peers[0].public_key), ModelError::KeyTwice(_)));
}

#[test]
fn an_address_outside_the_pools_or_of_the_gateway_is_refused() {
    let lan = "10.20.0.9".parse().unwrap();
    assert_eq!(refusal(|s| s.peers[0].v4 = lan), ModelError::AddressForeign(lan.into()));
    assert!(matches!(refusal(|s| s.peers[0].v4 = s.network.tunnel_v4), ModelError::AddressForeign(_)));
    assert!(matches!(refusal(|s| s.peers[0].v6 = s.network.tunnel_v6), ModelError::AddressForeign(_)));
}

#[test]
fn a_rule_that_names_what_is_not_there_is_refused() {
    let unknown = ResourceId(uuid::Uuid::nil());
    assert_eq!(
        refusal(|s| s.rules[0].what.push(Target::Resource(unknown))),
        ModelError::UnknownResource { rule: RuleId(17), resource: unknown }
    );
}

#[test]
fn a_rule_number_names_one_rule() {
    assert_eq!(refusal(|s| s.rules[0].id = RuleId(0)), ModelError::RuleNumber(RuleId(0)));
    assert_eq!(refusal(|s| s.rules.push(s.rules[0].clone())), ModelError::RuleNumber(RuleId(17)));
}

#[test]
fn an_empty_list_is_refused_and_not_taken_for_everything() {
    for change in [
        (|s| s.rules[0].who.clear()) as fn(&mut Snapshot),
        |s| s.rules[0].what.clear(),
        |s| s.resources[0].cidrs.clear(),
        |s| s.resources[0].traffic.clear(),
    ] {
        assert!(matches!(refusal(change), ModelError::EmptyList(_)));
    }
}

#[test]
fn more_rules_than_are_counted_apart_are_refused() {
    let mut snapshot = sample();
    let rule = snapshot.rules[0].clone();
    let rules =
        |count: u32| (1..=count).map(|id| nexa_wire::snapshot::Rule { id: RuleId(id), ..rule.clone() });
    snapshot.rules = rules(MAX_RULES).collect();
    lower(&snapshot, &[], DateTime::UNIX_EPOCH).unwrap();
    snapshot.rules = rules(MAX_RULES + 1).collect();
    let refused = lower(&snapshot, &[], DateTime::UNIX_EPOCH).unwrap_err();
    assert_eq!(refused, LowerError::Rules(MAX_RULES as usize + 1));
    assert!(refused.to_string().ends_with("merge some"), "{refused}");
}
