//! eval = decide ∘ lower, on the host.

use std::collections::HashMap;

use chrono::{TimeDelta, Utc};
use nexa_abi::engine::{self, NOBODY, Verdict};
use nexa_abi::packet;
use nexa_differential::host::HostTables;
use nexa_differential::oracle::{self, Expected};
use nexa_differential::{packets, policy, seed};
use nexa_gateway_core::install::{Found, Moment};
use nexa_gateway_core::{Installer, lower, model};
use nexa_types::DeviceId;

/// Seconds since boot, in nanoseconds, at which every packet arrives.
const NOW_NS: u64 = 1_000_000_000_000;

fn moment() -> Moment {
    let wall = Utc::now();
    Moment { boot_ns: NOW_NS, wall, lease_until: wall + TimeDelta::days(1) }
}

fn verdict(tables: &HostTables, devices: &HashMap<u32, DeviceId>, bytes: &[u8]) -> Expected {
    let verdict = match packet::parse(bytes) {
        Ok(packet) => engine::ingress(tables, &packet, NOW_NS),
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
    for case in 0..150 {
        // Generations follow each other on the same maps, so flows of one meet the policy of the next.
        let mut tables = HostTables::default();
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
            let devices = installer.as_ref().unwrap().devices().collect();
            let model = model::from_snapshot(&snapshot, &[]).unwrap();
            for _ in 0..50 {
                let packet = packets::from_peer(&mut rng);
                let expected = oracle::ingress(&snapshot, &model, &packet);
                let actual = verdict(&tables, &devices, &packet.bytes);
                assert_eq!(
                    actual, expected,
                    "seed {seed}, case {case}.{generation}\n{packet:?}\n{snapshot:#?}"
                );
                passed += u32::from(matches!(actual, Expected::Pass { .. }));
            }
        }
    }
    assert!(
        passed > 10_000,
        "seed {seed}: only {passed} of 225,000 packets passed; both answers must be seen"
    );
}

#[test]
fn generations_leave_nothing_behind() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut tables = HostTables::default();
    let empty = lower(
        &nexa_wire::snapshot::Snapshot {
            network: policy::network(),
            peers: vec![],
            resources: vec![],
            rules: vec![],
        },
        &[],
    )
    .unwrap();
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
