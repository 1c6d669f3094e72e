//! What was lowered once holds for ever: while nobody lowers anew, nothing passes that the rules then refuse, and what
//! the same rules go on to allow is not lost.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::layout::Direction;
use nexa_differential::engine::Engine;
use nexa_differential::oracle::Oracle;
use nexa_differential::packets::{Nature, Packet, Part};
use nexa_differential::trial::Answers as _;
use nexa_differential::{effort, packets, policy, seed};
use nexa_gateway_core::{lower, model};
use nexa_policy::model::{Effect, Model};
use nexa_policy::{Decision, Probe, eval};
use nexa_types::When;
use nexa_wire::snapshot::Snapshot;

/// Instants at which something begins or ends, with those right before and some time after.
fn instants(model: &Model) -> Vec<DateTime<Utc>> {
    let mut changes: Vec<DateTime<Utc>> = model
        .rules
        .iter()
        .flat_map(|rule| {
            std::iter::successors(rule.when.next_change(policy::at()), |at| rule.when.next_change(*at))
                .take(6)
        })
        .filter(|at| *at < policy::at() + TimeDelta::days(9))
        .collect();
    changes.sort_unstable();
    changes.dedup();
    let around = [TimeDelta::nanoseconds(-1), TimeDelta::zero(), TimeDelta::minutes(90)];
    changes.iter().flat_map(|change| around.map(|offset| *change + offset)).collect()
}

/// Whether rules that speak already allow a packet without a break from then until `at`.
fn is_allowed_on(model: &Model, snapshot: &Snapshot, packet: &Packet, until: DateTime<Utc>) -> bool {
    let Nature::Asks { protocol, port, .. } = packet.nature else { return false };
    let Some(sender) = snapshot.peers.iter().position(|peer| peer.addresses().contains(&packet.source))
    else {
        return false;
    };
    // What begins to be allowed later is for who lowers anew, also where it begins as something else ends.
    let mut speaking = model.clone();
    speaking.rules.retain(|rule| rule.effect == Effect::Deny || rule.when.is_active(policy::at()));
    for rule in speaking.rules.iter_mut().filter(|rule| rule.effect == Effect::Allow) {
        rule.when = When::new(None, rule.when.next_change(policy::at()), vec![]).unwrap();
    }
    let probe = Probe { destination: packet.destination, protocol, port };
    let allows = |at| matches!(eval(&speaking, &speaking.peers[sender], &probe, at), Decision::Allow(_));
    let passed = instants(&speaking).into_iter().filter(|at| *at < until);
    [policy::at(), until].into_iter().chain(passed).all(allows)
}

/// What the specification says of a packet that begins a conversation.
fn word(model: &Model, snapshot: &Snapshot, packet: &Packet, at: DateTime<Utc>) -> Option<Decision> {
    let Nature::Asks { protocol, port, .. } = packet.nature else { return None };
    let sender = snapshot.peers.iter().position(|peer| peer.addresses().contains(&packet.source))?;
    let probe = Probe { destination: packet.destination, protocol, port };
    Some(eval(model, &model.peers[sender], &probe, at))
}

#[test]
fn long_after_the_daemon_died_nothing_passes_that_is_refused_then_and_nothing_is_lost_that_is_allowed_on() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut kept, mut ended, mut closed) = (0, 0, 0);
    for case in 0..150 * effort() {
        let snapshot = policy::snapshot(&mut rng);
        let model = model::from_snapshot(&snapshot, &[]).unwrap();
        let next_change = lower(&snapshot, &[], policy::at()).unwrap().next_change();
        let mut engine = Engine::default();
        engine.apply(&snapshot);
        let mut oracle = Oracle::default();
        // Fragments are judged as what they are parts of, and nobody waits for one so long.
        let some = std::iter::repeat_with(|| packets::from_peer(&mut rng));
        let some: Vec<Packet> = some.filter(|packet| packet.part == Part::Whole).take(60).collect();
        for at in [policy::at()].into_iter().chain(instants(&model)) {
            oracle.set_clock(at);
            for packet in &some {
                let context = || format!("seed {seed}, case {case}, at {at}\n{packet:?}\n{snapshot:#?}");
                let expected = oracle.ask(&snapshot, &model, Direction::Ingress, packet);
                if next_change.is_none_or(|change| at < change) {
                    let now = word(&model, &snapshot, packet, policy::at());
                    assert_eq!(word(&model, &snapshot, packet, at), now, "nobody is woken: {}", context());
                }
                let actual = engine.answer_at(at, Direction::Ingress, &packet.bytes);
                match (actual.passes(), expected.passes()) {
                    (true, true) => kept += u32::from(at != policy::at()),
                    (true, false) => panic!("passes though it is refused: {}", context()),
                    (false, false) => ended += 1,
                    (false, true) => {
                        assert!(!is_allowed_on(&model, &snapshot, packet, at), "is lost: {}", context());
                        closed += 1;
                    }
                }
            }
        }
    }
    assert!(
        kept > 1_000 && ended > 1_000 && closed > 100,
        "seed {seed}: {kept} kept, {ended} ended, {closed} closed"
    );
}
