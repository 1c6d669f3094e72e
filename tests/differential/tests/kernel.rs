//! eval = decide ∘ lower = the programs in the kernel, packet by packet through BPF_PROG_TEST_RUN.
//!
//! Needs CAP_BPF; attaches nothing.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aya::{TestRun as _, TestRunOptions};
use chrono::{TimeDelta, Utc};
use nexa_differential::oracle::{self, Expected};
use nexa_differential::{packets, policy, seed};
use nexa_gateway::dataplane::{Counters, Dataplane, EGRESS, INGRESS, Options};
use nexa_gateway_core::{lower, model};
use nexa_types::DeviceId;
use nexa_wire::snapshot::Snapshot;

/// What the programs answer, as the kernel reports it: TC_ACT_UNSPEC and TC_ACT_SHOT.
const PASS: u32 = u32::MAX;
const DROP: u32 = 2;

/// The kernel refuses to run a packet shorter than an Ethernet header.
const SHORTEST_RUN: usize = 14;

fn open() -> Dataplane {
    Dataplane::open(&Options { max_flows: 4096, ..Options::default() })
        .expect("loading programs needs root, or CAP_BPF and CAP_NET_ADMIN")
}

fn apply(dataplane: &mut Dataplane, snapshot: &Snapshot) {
    dataplane.apply(&lower(snapshot, &[]).unwrap(), Utc::now() + TimeDelta::days(1)).unwrap();
}

fn run(dataplane: &Dataplane, program: &str, bytes: &[u8]) -> anyhow::Result<u32> {
    let options = TestRunOptions { data_in: Some(bytes), ..TestRunOptions::default() };
    Ok(dataplane.program(program)?.test_run(options).context("BPF_PROG_TEST_RUN failed")?.return_value)
}

/// All counters as one flat table, so that a change that nobody expects shows.
fn flat(counters: &Counters) -> BTreeMap<String, u64> {
    let mut flat = BTreeMap::new();
    for drops in &counters.drops {
        flat.insert(format!("{} {}", drops.direction, drops.reason), drops.packets);
    }
    for peer in &counters.peers {
        let device = peer.device;
        flat.insert(format!("{device} received packets"), peer.received_packets);
        flat.insert(format!("{device} received bytes"), peer.received_bytes);
        flat.insert(format!("{device} sent packets"), peer.sent_packets);
        flat.insert(format!("{device} sent bytes"), peer.sent_bytes);
        for (reason, packets) in &peer.drops {
            flat.insert(format!("{device} drops {reason}"), *packets);
        }
    }
    flat.retain(|_, count| *count > 0);
    flat
}

#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, key: String, count: u64) {
        *self.0.entry(key).or_default() += count;
    }

    fn ingress(&mut self, expected: Expected, bytes: &[u8]) {
        let received = |tally: &mut Self, device: DeviceId| {
            tally.add(format!("{device} received packets"), 1);
            tally.add(format!("{device} received bytes"), bytes.len() as u64);
        };
        match expected {
            Expected::Pass { device, .. } => received(self, device),
            Expected::Drop { device, reason, .. } => {
                self.add(format!("ingress {}", reason.as_str()), 1);
                if let Some(device) = device {
                    received(self, device);
                    self.add(format!("{device} drops {}", reason.as_str()), 1);
                }
            }
        }
    }
}

#[test]
fn the_kernel_says_what_the_specification_says_and_counts_nothing_else() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut passed = 0;
    for case in 0..3 {
        // A fresh object for each case; its generations meet flows and counters of those before.
        let mut dataplane = open();
        let mut tally = Tally::default();
        for generation in 0..60 {
            let snapshot = policy::snapshot(&mut rng);
            let before: Vec<DeviceId> =
                dataplane.counters().unwrap().peers.iter().map(|peer| peer.device).collect();
            apply(&mut dataplane, &snapshot);
            // A device that was away comes back with counters at zero, one that is away is not reported.
            tally.0.retain(|key, _| {
                key.starts_with("ingress")
                    || snapshot.peers.iter().any(|peer| {
                        key.starts_with(&peer.device.to_string()) && before.contains(&peer.device)
                    })
            });
            let model = model::from_snapshot(&snapshot, &[]).unwrap();
            for _ in 0..400 {
                let packet = packets::from_peer(&mut rng);
                if packet.bytes.len() < SHORTEST_RUN {
                    continue;
                }
                let expected = oracle::ingress(&snapshot, &model, &packet);
                let actual = run(&dataplane, INGRESS, &packet.bytes).unwrap();
                let wanted = if matches!(expected, Expected::Pass { .. }) { PASS } else { DROP };
                assert_eq!(
                    actual, wanted,
                    "seed {seed}, case {case}.{generation}: {expected:?}\n{packet:?}\n{snapshot:#?}"
                );
                tally.ingress(expected, &packet.bytes);
                passed += u32::from(wanted == PASS);
            }
            let counted = flat(&dataplane.counters().unwrap());
            assert_eq!(counted, tally.0, "seed {seed}, case {case}.{generation}: counters");
        }
    }
    assert!(passed > 5_000, "seed {seed}: only {passed} of 72,000 packets passed; both answers must be seen");
}
