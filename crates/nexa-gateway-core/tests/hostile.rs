//! Policies that say little and come to much are refused whole, before they cost much, with the rule that does it.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::net::Ipv6Addr;

use chrono::{DateTime, TimeDelta, Utc};
use nexa_gateway_core::lower::{MAX_ENTRIES, MAX_WORDS};
use nexa_gateway_core::{LowerError, Lowered, lower};
use nexa_policy::compile::{Expansion, MAX_EXPANSION, MAX_GRANTS};
use nexa_types::{Cidr, GroupId, PortRange, Protocol, ResourceId, RuleId, When};
use nexa_wire::snapshot::{Peer, Resource, Rule, Snapshot, Subject, Target, Traffic};
use uuid::Uuid;

fn sample() -> Snapshot {
    serde_json::from_str(include_str!("../../nexa-wire/tests/snapshot-v1.json")).unwrap()
}

/// A policy that allows everybody what it is given.
fn nothing() -> Snapshot {
    Snapshot { resources: vec![], rules: vec![], ..sample() }
}

/// Adds a rule of its own resource.
fn allow(
    snapshot: &mut Snapshot,
    id: u32,
    who: Subject,
    cidrs: Vec<Cidr>,
    traffic: Vec<Traffic>,
    when: When,
) {
    let resource = ResourceId(Uuid::from_u128(id.into()));
    let name = format!("resource-{id}");
    snapshot.resources.push(Resource { id: resource, name, cidrs, devices: vec![], traffic });
    let what = vec![Target::Resource(resource)];
    let rule = Rule { id: RuleId(id), who: vec![who], what, when, ..sample().rules[0].clone() };
    snapshot.rules.push(rule);
}

/// Hosts of IPv6, each another.
fn hosts(from: u32, count: u32) -> Vec<Cidr> {
    let net = u128::from(Ipv6Addr::new(0xfd20, 0, 0, 0, 0, 0, 0, 0));
    (from..from + count).map(|host| Cidr::host(Ipv6Addr::from(net + u128::from(host)).into())).collect()
}

fn tcp(first: u16, last: u16) -> Traffic {
    Traffic::new(Protocol::Tcp, Some(PortRange::new(first, last).unwrap())).unwrap()
}

/// Single ports with one between them, all of them odd.
fn ports(count: u16) -> Vec<Traffic> {
    (0..count).map(|n| tcp(2 * n + 1, 2 * n + 1)).collect()
}

/// Devices, each in a group of its own, of which a rule speaks: so each has another set.
fn crowd(snapshot: &mut Snapshot, count: u32) {
    snapshot.peers = (0..count)
        .map(|n| {
            let mut key = [7; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            let host = n + 2;
            Peer {
                device: nexa_types::DeviceId(Uuid::from_u128(n.into())),
                groups: vec![GroupId(Uuid::from_u128(n.into()))],
                public_key: nexa_types::PublicKey::from_bytes(key).unwrap(),
                v4: format!("100.96.{}.{}", host >> 8, host & 0xff).parse().unwrap(),
                v6: format!("fd6e:7861::{host:x}").parse().unwrap(),
                ..sample().peers[0].clone()
            }
        })
        .collect();
    for n in 0..count {
        let group = Subject::Group(GroupId(Uuid::from_u128(n.into())));
        allow(snapshot, 1_000 + n, group, hosts(u32::MAX - count, 1), ports(1), When::ALWAYS);
    }
}

/// What is said of a policy by who has another in force, which stays as it is; and it says what to do.
fn refusal(hostile: &Snapshot) -> LowerError {
    let at = DateTime::UNIX_EPOCH;
    let usual = sample();
    let mut lowered = lower(&usual, &[], at).unwrap();
    let before = content(&lowered);
    let error = lowered.set(hostile, &[], at).unwrap_err();
    assert_eq!(content(&lowered), before, "{error}");
    assert_eq!(lower(hostile, &[], at).unwrap_err(), error, "from nothing it is refused too");
    lowered.set(&usual, &[], at).unwrap();
    assert_eq!(content(&lowered), before);
    error
}

/// What a policy comes to, whatever numbers its parts have.
fn content(lowered: &Lowered) -> Vec<String> {
    let everything = lowered.everything();
    let sets = everything.sets.iter().map(|set| {
        let entries = lowered.set_entries(*set, |_| 0);
        format!("{entries:?}")
    });
    let mut content: Vec<String> =
        sets.chain(everything.classes.iter().map(|class| format!("{:?}", lowered.class(*class)))).collect();
    content.sort_unstable();
    content
}

#[test]
fn rules_of_too_many_prefixes_over_all_groups_are_refused_with_the_widest() {
    let mut hostile = nothing();
    crowd(&mut hostile, 64);
    let half = u32::try_from(MAX_EXPANSION / 64 / 2).unwrap();
    allow(&mut hostile, 7, Subject::Everyone, hosts(0, half + 2), ports(1), When::ALWAYS);
    allow(&mut hostile, 8, Subject::Everyone, hosts(half + 2, half), ports(1), When::ALWAYS);
    let error = refusal(&hostile);
    let LowerError::Expansion(Expansion::Prefixes { rule, by_rule, .. }) = error else { panic!("{error}") };
    assert_eq!((rule, by_rule), (RuleId(7), (half as usize + 2) * 64));
    assert!(error.to_string().contains("let it name fewer prefixes"), "{error}");
}

#[test]
fn more_prefixes_than_the_map_holds_are_refused_with_the_widest_rule() {
    let mut hostile = nothing();
    let most = u32::try_from(MAX_ENTRIES).unwrap();
    allow(&mut hostile, 7, Subject::Everyone, hosts(0, most), ports(1), When::ALWAYS);
    allow(&mut hostile, 8, Subject::Everyone, hosts(most, 9), ports(1), When::ALWAYS);
    let error = refusal(&hostile);
    let LowerError::Entries { map, rule, by_rule, .. } = error else { panic!("{error}") };
    assert_eq!((map, rule, by_rule), ("prefix", RuleId(7), MAX_ENTRIES));
    assert!(error.to_string().contains("merge its prefixes"), "{error}");
}

#[test]
fn more_port_entries_than_the_map_holds_are_refused_however_many_they_would_be() {
    let mut hostile = nothing();
    // Each class with all of one rule's ports, and one of its own.
    allow(&mut hostile, 7, Subject::Everyone, vec!["fd20::/16".parse().unwrap()], ports(8_000), When::ALWAYS);
    for n in 0..1_000 {
        let port = u16::try_from(2 * n + 2).unwrap();
        allow(&mut hostile, 100 + n, Subject::Everyone, hosts(n, 1), vec![tcp(port, port)], When::ALWAYS);
    }
    let error = refusal(&hostile);
    let LowerError::Entries { map, needed, rule, .. } = error else { panic!("{error}") };
    assert_eq!((map, rule), ("port", RuleId(7)));
    // Found while they were made, and not after the eighth million.
    assert!(needed < 2 * MAX_ENTRIES + 20_000, "{error}");
    assert!(error.to_string().contains("port ranges"), "{error}");
}

#[test]
fn wide_words_repeated_in_many_narrow_prefixes_are_refused_while_they_are() {
    // A word a rule, all around each other and around many.
    let mut deep = nothing();
    let around = |length: u32| vec![format!("fd20::/{}", 32 + length % 64).parse().unwrap()];
    for id in 1..=2_000 {
        allow(&mut deep, id, Subject::Everyone, around(id), vec![tcp(id as u16, id as u16)], When::ALWAYS);
    }
    allow(&mut deep, 7_000, Subject::Everyone, hosts(0, 20_000), ports(1), When::ALWAYS);
    let error = refusal(&deep);
    let LowerError::Expansion(Expansion::Grants { rule, by_rule: 1 }) = error else { panic!("{error}") };
    assert!((1..=2_000).contains(&rule.0), "{error}");

    // All words one rule's.
    let mut wide = nothing();
    allow(&mut wide, 7, Subject::Everyone, vec!["fd20::/16".parse().unwrap()], ports(30_000), When::ALWAYS);
    allow(&mut wide, 8, Subject::Everyone, hosts(0, 20_000), ports(1), When::ALWAYS);
    let error = refusal(&wide);
    let grants = Expansion::Grants { rule: RuleId(7), by_rule: 30_000 };
    assert_eq!(error, LowerError::Expansion(grants));
    assert!(
        error.to_string().contains("let it name fewer protocols and ports, or narrower prefixes"),
        "{error}"
    );

    // More than may be said at all, before any of it is repeated.
    let mut much = nothing();
    crowd(&mut much, 64);
    let each = u16::try_from(MAX_GRANTS / 64 / 16).unwrap();
    for id in 1..=17 {
        let host = hosts(id, 1);
        allow(&mut much, id, Subject::Everyone, host, ports(each), When::ALWAYS);
    }
    let error = refusal(&much);
    assert!(matches!(error, LowerError::Expansion(Expansion::Grants { .. })), "{error}");
}

#[test]
fn too_many_different_times_on_the_same_ports_are_refused() {
    let mut hostile = nothing();
    let day = |n: u32| Some(DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(n.into()));
    // Around each other, so that all of them speak of the innermost.
    let count = u32::try_from(MAX_WORDS.isqrt() + 1_000).unwrap();
    let inside = vec!["10.7.0.0/16".parse().unwrap()];
    for id in 1..=count {
        let ports = vec![tcp(id as u16, 65_535 - id as u16)];
        allow(
            &mut hostile,
            id,
            Subject::Everyone,
            inside.clone(),
            ports,
            When::new(None, day(id), vec![]).unwrap(),
        );
    }
    let error = refusal(&hostile);
    assert_eq!(error, LowerError::Times { rule: RuleId(1), times: count as usize });
    assert!(error.to_string().contains("the same windows and dates"), "{error}");

    // As many ranges of the same times are nothing special.
    for rule in &mut hostile.rules {
        rule.when = When::new(None, day(1), vec![]).unwrap();
    }
    lower(&hostile, &[], DateTime::UNIX_EPOCH).unwrap();
}
