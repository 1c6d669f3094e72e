//! eval = decide ∘ lower, on the host.

use std::collections::HashMap;

use chrono::{TimeDelta, Utc};
use nexa_abi::engine::{self, NOBODY, Now, Verdict};
use nexa_abi::layout::Direction;
use nexa_abi::packet;
use nexa_differential::host::HostTables;
use nexa_differential::oracle::{Expected, Oracle};
use nexa_differential::{effort, packets, policy, seed};
use nexa_gateway_core::install::{Found, Moment};
use nexa_gateway_core::{Installer, lower, model};
use nexa_types::DeviceId;
use nexa_wire::snapshot::Snapshot;

/// Seconds since boot, in nanoseconds, at which every packet arrives.
const NOW_NS: u64 = 1_000_000_000_000;

fn moment() -> Moment {
    let wall = Utc::now();
    Moment { boot_ns: NOW_NS, wall, lease_until: wall + TimeDelta::days(1) }
}

fn verdict(tables: &HostTables, devices: &HashMap<u32, DeviceId>, bytes: &[u8]) -> Expected {
    let verdict = match packet::parse(bytes) {
        Ok(mut packet) => engine::judge(tables, &mut packet, Direction::Ingress, &Now::at(tables, NOW_NS)),
        Err(reason) => Verdict::drop(NOBODY, reason),
    };
    let device = devices.get(&verdict.peer).copied();
    match verdict.dropped {
        None => Expected::Pass {
            device: device.expect("a packet that goes on is somebody's"),
            rule: verdict.rule,
        },
        Some(reason) => Expected::Drop { device, reason, rule: verdict.rule },
    }
}

#[test]
fn the_engine_says_what_the_specification_says() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut passed = 0;
    for case in 0..100 * effort() {
        // Generations follow each other on the same maps, so flows of one meet the policy of the next.
        let mut tables = HostTables::default();
        let (mut oracle, mut packets) = (Oracle::default(), packets::Stream::default());
        let mut installer: Option<Installer> = None;
        for generation in 0..30 {
            let snapshot = policy::snapshot(&mut rng);
            let lowered = lower(&snapshot, &[]).unwrap();
            let plan = match &mut installer {
                Some(installer) => installer.plan(&lowered, moment()),
                None => {
                    let (first, plan) = Installer::adopt(&Found::default(), &lowered, moment());
                    installer = Some(first);
                    plan
                }
            };
            tables.carry_out(&plan);
            oracle.change(&snapshot);
            let devices = installer.as_ref().unwrap().devices().collect();
            let model = model::from_snapshot(&snapshot, &[]).unwrap();
            for _ in 0..50 {
                let packet = packets.next(&mut rng);
                let expected = oracle.ingress(&snapshot, &model, &packet);
                let actual = verdict(&tables, &devices, &packet.bytes);
                assert_eq!(
                    actual, expected,
                    "seed {seed}, case {case}.{generation}\n{packet:?}\n{snapshot:#?}"
                );
                passed += u32::from(matches!(actual, Expected::Pass { .. }));
            }
        }
    }
    assert!(passed > 2_000, "seed {seed}: only {passed} packets passed; both answers must be seen");
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
            let (mut oracle, mut packets) = (Oracle::default(), packets::Stream::default());
            let snapshot = policy::snapshot(&mut rng);
            let (mut installer, plan) =
                Installer::adopt(&tables.find(), &lower(&snapshot, &[]).unwrap(), moment());
            tables.carry_out(&plan);
            let snapshot = if rng.bool() {
                let next = policy::snapshot(&mut rng);
                tables.carry_out(&installer.plan(&lower(&next, &[]).unwrap(), moment()));
                next
            } else {
                snapshot
            };
            let devices = installer.devices().collect();
            let model = model::from_snapshot(&snapshot, &[]).unwrap();
            for _ in 0..40 {
                let packet = packets.next(&mut rng);
                let expected = oracle.ingress(&snapshot, &model, &packet);
                let actual = verdict(&tables, &devices, &packet.bytes);
                assert_eq!(
                    actual, expected,
                    "seed {seed}, case {case}, daemon {daemon}\n{packet:?}\n{snapshot:#?}"
                );
            }
        }
        let (_, plan) = Installer::adopt(&tables.find(), &lower(&empty(), &[]).unwrap(), moment());
        tables.carry_out(&plan);
        assert_eq!(tables.len(), [0, 0, 0], "seed {seed}, case {case}");
    }
}

#[test]
fn a_device_keeps_its_index_over_a_restart() {
    let snapshot = policy::snapshot(&mut fastrand::Rng::with_seed(1));
    let lowered = lower(&snapshot, &[]).unwrap();
    let mut tables = HostTables::default();
    let (before, plan) = Installer::adopt(&Found::default(), &lowered, moment());
    tables.carry_out(&plan);
    let (after, plan) = Installer::adopt(&tables.find(), &lowered, moment());
    assert_eq!(after.devices().collect::<Vec<_>>(), before.devices().collect::<Vec<_>>());
    assert!(plan.reset_counters.is_empty() && plan.insert_peers.is_empty());
}

fn empty() -> Snapshot {
    Snapshot { network: policy::network(), peers: vec![], resources: vec![], rules: vec![] }
}

#[test]
fn generations_leave_nothing_behind() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut tables = HostTables::default();
    let empty = lower(&empty(), &[]).unwrap();
    let (mut installer, plan) = Installer::adopt(&Found::default(), &empty, moment());
    tables.carry_out(&plan);
    for _ in 0..200 {
        let plan = installer.plan(&lower(&policy::snapshot(&mut rng), &[]).unwrap(), moment());
        tables.carry_out(&plan);
    }
    assert!(!tables.is_empty(), "seed {seed}: the last policy has peers");
    tables.carry_out(&installer.plan(&empty, moment()));
    assert_eq!(tables.len(), [0, 0, 0], "seed {seed}");
}
