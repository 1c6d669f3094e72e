//! A policy that does not fit takes away all the same: what is left allows nothing that either of two policies refuses.

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use nexa_differential::{effort, policy, seed};
use nexa_gateway_core::{affected, lower, model, restrict};
use nexa_policy::{Decision, Model, Probe, eval};
use nexa_types::{DeviceId, RuleId};
use nexa_wire::snapshot::{Effect, Rule, Snapshot, Subject, Target};

/// `old` with some of it as in another policy: rules, resources and memberships changed, added and gone.
fn successor(rng: &mut Rng, old: &Snapshot) -> Snapshot {
    let other = policy::snapshot(rng);
    let mut new = old.clone();
    let changes = rng.u8(1..4);
    mix(rng, &mut new.peers, &other.peers, changes);
    mix(rng, &mut new.rules, &other.rules, changes);
    mix(rng, &mut new.resources, &other.resources, changes);
    let known = |target: &Target| {
        let Target::Resource(id) = target;
        new.resources.iter().any(|resource| resource.id == *id)
    };
    new.rules.iter_mut().for_each(|rule| rule.what.retain(known));
    new.rules.retain(|rule| !rule.what.is_empty());
    new
}

/// Things of the same position have the same id.
fn mix<T: Clone>(rng: &mut Rng, ours: &mut Vec<T>, others: &[T], changes: u8) {
    for _ in 0..changes {
        let at = rng.usize(0..16);
        match others.get(at) {
            Some(other) if at < ours.len() && rng.bool() => ours[at] = other.clone(),
            Some(other) if at == ours.len() => ours.push(other.clone()),
            _ if ours.len() > 1 && at + 1 == ours.len() => drop(ours.pop()),
            _ => {}
        }
    }
}

fn probe(rng: &mut Rng) -> Probe {
    let v6 = rng.bool();
    let (protocol, port) = match rng.u8(0..8) {
        0 if v6 => (58, 0x8000),
        0 => (1, 0x0800),
        1 => (132, 0),
        2 | 3 => (17, policy::port(rng)),
        _ => (6, policy::port(rng)),
    };
    Probe { destination: policy::destination(rng, v6), protocol, port }
}

/// Who asks, for what, and when.
type Question = (DeviceId, Probe, DateTime<Utc>);

fn allows(model: &Model, &(device, probe, at): &Question) -> bool {
    let peer = model.peers.iter().find(|peer| peer.device == device);
    peer.is_some_and(|peer| matches!(eval(model, peer, &probe, at), Decision::Allow(_)))
}

/// Asks `count` questions of the policies.
fn questions(rng: &mut Rng, of: &Snapshot, count: usize) -> Vec<Question> {
    let question = |_| {
        let device = of.peers[rng.usize(0..of.peers.len())].device;
        // Rules may speak at some times only.
        (device, probe(rng), policy::at() + TimeDelta::minutes(rng.i64(0..20_000)))
    };
    (0..count).map(question).collect()
}

#[test]
fn a_restricted_policy_allows_nothing_that_either_refuses() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let (mut allowed, mut taken) = (0, 0);
    for case in 0..4_000 * effort() {
        let old = policy::snapshot(&mut rng);
        let new = if rng.u8(0..8) == 0 { policy::snapshot(&mut rng) } else { successor(&mut rng, &old) };
        let restricted = restrict(&old, &new);
        lower(&restricted, &[], policy::at()).unwrap();
        let [before, after, left] =
            [&old, &new, &restricted].map(|snapshot| model::from_snapshot(snapshot, &[]).unwrap());
        for question in questions(&mut rng, &old, 60) {
            let [before, after, left] = [&before, &after, &left].map(|model| allows(model, &question));
            assert!(
                !left || before && after,
                "seed {seed}, case {case}: {question:?}\n{old:#?}\n{new:#?}\n{restricted:#?}"
            );
            allowed += u32::from(left);
            taken += u32::from(before && !after);
        }
    }
    assert!(
        allowed > 2_000 && taken > 2_000,
        "seed {seed}: {allowed} left, {taken} taken; both must be seen"
    );
}

#[test]
fn who_is_not_affected_keeps_what_both_policies_allow() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let mut kept = 0;
    for case in 0..4_000 * effort() {
        let old = policy::snapshot(&mut rng);
        let new = successor(&mut rng, &old);
        let affected = affected(&old, &new);
        // As the kernel has it then: a device that is gone is no destination either.
        let left = Snapshot {
            peers: old.peers.iter().filter(|peer| !affected.contains(&peer.device)).cloned().collect(),
            ..old.clone()
        };
        let [after, left] = [&new, &left].map(|snapshot| model::from_snapshot(snapshot, &[]).unwrap());
        for question in questions(&mut rng, &old, 60) {
            let left = allows(&left, &question);
            assert!(
                !left || allows(&after, &question),
                "seed {seed}, case {case}: {question:?}\n{old:#?}\n{new:#?}\n{affected:?}"
            );
            kept += u32::from(left);
        }
    }
    assert!(kept > 500, "seed {seed}: only {kept} were kept");
}

#[test]
fn nothing_is_lost_where_nothing_is_taken() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    for case in 0..500 * effort() {
        let old = policy::snapshot(&mut rng);
        let mut new = old.clone();
        // What is only added is not there yet, and takes nothing.
        for (rule, number) in old.rules.iter().filter(|rule| rule.effect == Effect::Allow).zip(100..) {
            new.rules.push(Rule { id: RuleId(number), who: vec![Subject::Everyone], ..rule.clone() });
        }
        let restricted = restrict(&old, &new);
        assert!(affected(&old, &new).is_empty());
        let [before, left] = [&old, &restricted].map(|snapshot| model::from_snapshot(snapshot, &[]).unwrap());
        for question in questions(&mut rng, &old, 60) {
            let [before, left] = [&before, &left].map(|model| allows(model, &question));
            assert_eq!(before, left, "seed {seed}, case {case}: {question:?}\n{old:#?}\n{restricted:#?}");
        }
    }
}
