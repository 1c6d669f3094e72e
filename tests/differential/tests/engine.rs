//! eval = decide ∘ lower, on the host.

use nexa_abi::layout::Direction;
use nexa_differential::engine::{Engine, moment};
use nexa_differential::host::HostTables;
use nexa_differential::oracle::Oracle;
use nexa_differential::trial::{self, Answers as _, Count, Length};
use nexa_differential::{effort, packets, policy, seed};
use nexa_gateway_core::install::Found;
use nexa_gateway_core::{Installer, lower, model};

#[test]
fn the_engine_says_what_the_specification_says() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut count = Count::default();
    let mut recalled = 0;
    for case in 0..100 * effort() {
        let mut engine = Engine::default();
        match trial::random(&mut rng, Length { generations: 30, packets: 50 }, &mut engine, || true) {
            Ok(more) => count += more,
            Err(disagreement) => panic!("seed {seed}, case {case}\n{disagreement}"),
        }
        recalled += engine.recalled.get();
    }
    let seen = count.passed.iter().all(|passed| *passed > 1_000);
    assert!(seen, "seed {seed}: {count:?}; packets must pass in both directions");
    assert!(recalled > 100, "seed {seed}: {recalled} of {count:?} packets were of recent flows");
}

#[test]
fn a_change_of_one_device_is_one_store_and_comes_to_what_a_whole_swap_does() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut patched, mut changes) = (0, 0);
    for case in 0..150 * effort() {
        let mut snapshot = policy::snapshot(&mut rng);
        let mut engine = Engine::default();
        engine.apply(&snapshot);
        for change in 0..8 {
            snapshot = policy::with_one_device_changed(&mut rng, &snapshot);
            engine.apply(&snapshot);
            engine.tables.forget_flows();
            let mut whole = Engine::default();
            whole.apply(&snapshot);
            for _ in 0..40 {
                let packet = packets::from_peer(&mut rng);
                let [actual, expected] =
                    [&engine, &whole].map(|engine| engine.answer(Direction::Ingress, &packet.bytes));
                assert_eq!(actual, expected, "seed {seed}, case {case}.{change}\n{packet:?}\n{snapshot:#?}");
            }
            changes += 1;
        }
        patched += engine.patched;
    }
    assert!(2 * patched > changes, "seed {seed}: {patched} of {changes} changes were one store");
}

/// Entries of a policy without devices: what no resource covers is there all the same.
fn of_nobody() -> [usize; 3] {
    let excluded = lower(&policy::empty(), &[], policy::at()).expect("it is empty").excluded();
    [0, excluded.len(), 0]
}

#[test]
fn a_daemon_that_starts_over_full_maps_serves_its_own_policy() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    for case in 0..60 {
        let mut tables = HostTables::default();
        for daemon in 0..3 {
            // It cannot know the indexes of devices that had left before it came, so neither can the oracle.
            tables.forget_flows();
            let mut oracle = Oracle::default();
            let mut engine = Engine::adopting(tables);
            let mut snapshot = policy::snapshot(&mut rng);
            engine.apply(&snapshot);
            if rng.bool() {
                snapshot = policy::snapshot(&mut rng);
                engine.apply(&snapshot);
            }
            let model = model::from_snapshot(&snapshot, &[]).unwrap();
            for _ in 0..40 {
                let packet = packets::from_peer(&mut rng);
                let expected = oracle.ask(&snapshot, &model, Direction::Ingress, &packet);
                let actual = engine.answer(Direction::Ingress, &packet.bytes);
                assert_eq!(
                    actual, expected,
                    "seed {seed}, case {case}, daemon {daemon}\n{packet:?}\n{snapshot:#?}"
                );
            }
            tables = engine.tables;
        }
        let (_, plan) =
            Installer::adopt(&tables.find(), &lower(&policy::empty(), &[], policy::at()).unwrap(), moment());
        tables.carry_out(&plan);
        assert_eq!(tables.len(), of_nobody(), "seed {seed}, case {case}");
    }
}

#[test]
fn a_device_keeps_its_index_over_a_restart() {
    let snapshot = policy::snapshot(&mut fastrand::Rng::with_seed(1));
    let lowered = lower(&snapshot, &[], policy::at()).unwrap();
    let mut tables = HostTables::default();
    let (before, plan) = Installer::adopt(&Found::default(), &lowered, moment());
    tables.carry_out(&plan);
    let (after, plan) = Installer::adopt(&tables.find(), &lowered, moment());
    assert_eq!(after.devices().collect::<Vec<_>>(), before.devices().collect::<Vec<_>>());
    assert!(plan.reset_counters.is_empty() && plan.insert_peers.is_empty());
}

#[test]
fn generations_leave_nothing_behind() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut engine = Engine::default();
    engine.apply(&policy::empty());
    for _ in 0..200 {
        engine.apply(&policy::snapshot(&mut rng));
    }
    assert!(!engine.tables.is_empty(), "seed {seed}: the last policy has peers");
    engine.apply(&policy::empty());
    assert_eq!(engine.tables.len(), of_nobody(), "seed {seed}");
}
