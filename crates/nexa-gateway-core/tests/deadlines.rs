//! Instants become deadlines of the boot clock once, and anew when the wall clock is set.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::layout::ALLOW_LAPSING;
use nexa_gateway_core::install::{Found, Moment};
use nexa_gateway_core::{Installer, Plan, lower};
use nexa_wire::snapshot::Snapshot;

const BOOT_NS: u64 = 1_000_000_000_000;

fn now() -> DateTime<Utc> {
    "2026-11-25T02:00:00Z".parse().unwrap()
}

/// A rule that ends an hour from now, and one without limits.
fn sample() -> Snapshot {
    let mut snapshot: Snapshot =
        serde_json::from_str(include_str!("../../nexa-wire/tests/snapshot-v1.json")).unwrap();
    let mut other = snapshot.rules[0].clone();
    other.id = nexa_types::RuleId(18);
    let mut elsewhere = snapshot.resources[0].clone();
    elsewhere.id = nexa_types::ResourceId(uuid::Uuid::from_u128(9));
    elsewhere.cidrs = vec!["10.30.0.0/24".parse().unwrap()];
    other.what = vec![nexa_wire::snapshot::Target::Resource(elsewhere.id)];
    snapshot.resources.push(elsewhere);
    snapshot.rules.push(other);
    snapshot.rules[0].when = serde_json::from_str(r#"{"valid_until": "2026-11-25T03:00:00Z"}"#).unwrap();
    snapshot
}

/// `passed` later by the boot clock, and by the wall clock so much more.
fn moment(passed: TimeDelta, set_by: TimeDelta) -> Moment {
    let boot_ns = BOOT_NS + u64::try_from(passed.num_nanoseconds().unwrap()).unwrap();
    let wall = now() + passed + set_by;
    Moment { boot_ns, wall, lease_until: wall + TimeDelta::days(1) }
}

fn deadlines(plan: &Plan) -> Vec<u64> {
    let lapsing = |(_, _, value): &&(u32, _, nexa_abi::layout::PortsValue)| value.verdict() == ALLOW_LAPSING;
    plan.insert_ports.iter().filter(lapsing).map(|(_, _, value)| value.not_after_ns).collect()
}

fn installed() -> (Installer, Plan) {
    Installer::adopt(
        &Found::default(),
        &lower(&sample(), &[], now()).unwrap(),
        moment(TimeDelta::zero(), TimeDelta::zero()),
    )
}

#[test]
fn an_instant_becomes_a_deadline_of_the_boot_clock() {
    let (installer, plan) = installed();
    let hour_ns = 3600 * 1_000_000_000;
    // TCP and the two numbers of ICMP.
    assert_eq!(deadlines(&plan), [BOOT_NS + hour_ns; 3]);
    let content: Vec<_> = installer.content().ports.into_values().map(|value| value.not_after_ns).collect();
    assert_eq!(content.iter().filter(|ns| **ns == BOOT_NS + hour_ns).count(), 3);
    assert_eq!(
        content.iter().filter(|ns| **ns == u64::MAX).count(),
        7,
        "three of the rule without limits, four implicit"
    );
}

#[test]
fn what_did_not_change_stays_in_the_maps_while_time_goes_on() {
    let (mut installer, _) = installed();
    let later = now() + TimeDelta::minutes(30);
    let plan = installer.plan(
        &lower(&sample(), &[], later).unwrap(),
        moment(TimeDelta::minutes(30), TimeDelta::milliseconds(200)),
    );
    assert_eq!((plan.insert_ports, plan.delete_ports), (vec![], vec![]));
}

#[test]
fn a_wall_clock_that_was_set_moves_deadlines_and_only_what_has_some_is_written_anew() {
    for set_by in [TimeDelta::minutes(-10), TimeDelta::minutes(10), TimeDelta::milliseconds(300)] {
        let (mut installer, first) = installed();
        let half_an_hour = TimeDelta::minutes(30);
        let at = now() + half_an_hour + set_by;
        let plan = installer.plan(&lower(&sample(), &[], at).unwrap(), moment(half_an_hour, set_by));
        let hour_ns = 3600 * 1_000_000_000;
        let wanted = BOOT_NS + hour_ns - u64::try_from(set_by.num_nanoseconds().unwrap().max(0)).unwrap()
            + u64::try_from((-set_by).num_nanoseconds().unwrap().max(0)).unwrap();
        assert_eq!(deadlines(&plan), [wanted; 3], "{set_by}");
        assert_eq!(plan.insert_ports.len(), 3);
        assert_eq!(plan.delete_ports.len(), 3);
        let was = |(bits, key, value): &(u32, nexa_abi::layout::PortsKey, nexa_abi::layout::PortsValue)| {
            (value.verdict() == ALLOW_LAPSING).then_some((*bits, *key))
        };
        let mut timed: Vec<_> = first.insert_ports.iter().filter_map(was).collect();
        let mut deleted = plan.delete_ports.clone();
        timed.sort_unstable();
        deleted.sort_unstable();
        assert_eq!(deleted, timed);
        let content: Vec<_> =
            installer.content().ports.into_values().map(|value| value.not_after_ns).collect();
        assert_eq!(content.iter().filter(|ns| **ns == wanted).count(), 3);
    }
}

#[test]
fn when_a_rule_begins_or_ends_to_speak_the_policy_is_due_to_be_lowered_anew() {
    let ends = "2026-11-25T03:00:00Z".parse().unwrap();
    assert_eq!(lower(&sample(), &[], now()).unwrap().next_change(), Some(ends));
    assert_eq!(lower(&sample(), &[], ends).unwrap().next_change(), None);
}
