//! Policies that the maps have no room for.

use std::collections::HashSet;
use std::net::IpAddr;

use chrono::{TimeDelta, Utc};
use fastrand::Rng;
use nexa_abi::engine::Limit;
use nexa_differential::{effort, policy, seed};
use nexa_gateway::dataplane::{Dataplane, Options, is_overflow};
use nexa_gateway_core::{affected, lower, restrict};
use nexa_wire::snapshot::{Snapshot, Target};

use crate::questions::{of_kernel, of_policy, questions};
use crate::swap::drift;

/// Maps in which many policies of the generator's have no room beside another.
fn small() -> Dataplane {
    // What no resource covers is there once, whatever the policies.
    let excluded = lower(&policy::empty(), &[], policy::at()).unwrap().excluded().len();
    let max_entries = 40 + u32::try_from(excluded).unwrap();
    let options =
        Options { max_entries, max_flows: 1 << 12, new_flow_limit: Limit::NONE, ..Options::default() };
    Dataplane::open(&options).unwrap()
}

/// Whether a policy fits, and is in force then.
fn fits(dataplane: &mut Dataplane, snapshot: &Snapshot) -> bool {
    match dataplane.apply(&lower(snapshot, &[], policy::at()).unwrap(), Utc::now() + TimeDelta::days(1)) {
        Ok(_) => true,
        Err(error) if is_overflow(&error) => false,
        Err(error) => panic!("{error:#}"),
    }
}

/// `snapshot` with some of it gone, and more than there was.
fn successor(rng: &mut Rng, snapshot: &Snapshot) -> Snapshot {
    let mut other = policy::snapshot(rng);
    other.peers.retain(|_| rng.u8(0..4) > 0);
    let kept = &snapshot.rules[..rng.usize(0..=snapshot.rules.len())];
    other.resources.clone_from(&snapshot.resources);
    other.rules.retain(|rule| kept.iter().all(|kept| kept.id != rule.id));
    other.rules.extend(kept.iter().cloned());
    let known = |Target::Resource(id): &Target| snapshot.resources.iter().any(|resource| resource.id == *id);
    other.rules.iter_mut().for_each(|rule| rule.what.retain(known));
    other.rules.retain(|rule| !rule.what.is_empty());
    other
}

#[test]
fn a_policy_without_room_changes_nothing_and_takes_away_all_the_same() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let (mut restricted_ones, mut expelled, mut taken) = (0, 0, 0);
    // What is asked for at the end is a matter of chance: more cases until it was seen.
    for case in 0..150 * effort() {
        if case >= 15 * effort() && restricted_ones > 5 && expelled > 2 && taken > 25 {
            break;
        }
        let mut dataplane = small();
        let mut in_force = policy::snapshot(&mut rng);
        if !fits(&mut dataplane, &in_force) {
            continue;
        }
        // Of devices that were shut out: until the next policy packets to them pass the ingress and end at the egress, since
        // nobody has the address.
        let mut shut_out: HashSet<IpAddr> = HashSet::new();
        for step in 0..20 {
            let next = successor(&mut rng, &in_force);
            let mut asked = questions(&mut rng, 120);
            asked.retain(|question| !shut_out.contains(&question.to.address));
            let place = format!("seed {seed}, {case}.{step}: {asked:?}\n{in_force:#?}\n{next:#?}");
            if fits(&mut dataplane, &next) {
                shut_out.clear();
                in_force = next;
                assert_eq!(of_kernel(&dataplane, &asked), of_policy(&in_force, &asked), "{place}");
                continue;
            }
            let before = of_policy(&in_force, &asked);
            assert_eq!(of_kernel(&dataplane, &asked), before, "what is refused changes nothing; {place}");
            assert_eq!(drift(&mut dataplane), "", "{place}");

            let after = of_policy(&next, &asked);
            let narrowed = restrict(&in_force, &next);
            if fits(&mut dataplane, &narrowed) {
                restricted_ones += 1;
                shut_out.clear();
                in_force = narrowed;
            } else {
                expelled += 1;
                let devices = affected(&in_force, &next);
                dataplane.expel(&devices).unwrap();
                let gone = in_force.peers.iter().filter(|peer| devices.contains(&peer.device));
                shut_out.extend(gone.flat_map(|peer| peer.addresses()));
                in_force.peers.retain(|peer| !devices.contains(&peer.device));
            }
            let left = of_kernel(&dataplane, &asked);
            for (question, ((left, before), after)) in asked.iter().zip(left.iter().zip(&before).zip(&after))
            {
                assert!(!left || *before && *after, "{question:?} passes; {place}");
                taken += u32::from(*before && !after);
            }
            assert_eq!(drift(&mut dataplane), "", "{place}");
        }
        let nothing = Snapshot { peers: Vec::new(), resources: Vec::new(), rules: Vec::new(), ..in_force };
        assert!(fits(&mut dataplane, &nothing), "an empty policy always fits");
    }
    assert!(
        restricted_ones > 5 && expelled > 2 && taken > 25,
        "seed {seed}: {restricted_ones} restricted, {expelled} expelled, {taken} taken; all must be seen"
    );
}

#[test]
fn more_rules_than_are_counted_are_refused() {
    let mut rng = Rng::with_seed(seed());
    let options = Options { max_rules: 3, max_flows: 16, ..Options::default() };
    let mut dataplane = Dataplane::open(&options).unwrap();
    for _ in 0..20 {
        let snapshot = policy::snapshot(&mut rng);
        assert_eq!(fits(&mut dataplane, &snapshot), snapshot.rules.len() <= 3);
    }
}
