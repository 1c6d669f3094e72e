//! eval = decide ∘ lower = the programs, packet by packet.

use std::collections::{BTreeMap, BTreeSet};

use nexa_abi::reason::Reason;
use nexa_differential::oracle::{Expected, Oracle};
use nexa_differential::{effort, packets, policy, seed};
use nexa_gateway::dataplane::INGRESS;
use nexa_gateway_core::model;
use nexa_types::DeviceId;

use crate::{Answer, apply, flat, open, run};

/// The kernel refuses to run a packet shorter than an Ethernet header.
const SHORTEST_RUN: usize = 14;

/// What the counters must say.
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
            Expected::Pass { device, rule } => {
                received(self, device);
                let rule = if rule == 0 { "implicit".to_owned() } else { rule.to_string() };
                self.add(format!("rule {rule} allowed packets"), 1);
                self.add(format!("rule {rule} allowed bytes"), bytes.len() as u64);
            }
            Expected::Drop { device, reason, rule } => {
                let rule = match reason {
                    Reason::NoRule => Some("default_deny".to_owned()),
                    Reason::RuleDeny => Some(rule.to_string()),
                    _ => None,
                };
                if let Some(rule) = rule {
                    self.add(format!("rule {rule} denied packets"), 1);
                    self.add(format!("rule {rule} denied bytes"), bytes.len() as u64);
                }
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
    for case in 0..3 * effort() {
        // A fresh object for each case; its generations meet flows and counters of those before.
        let mut dataplane = open();
        let (mut tally, mut oracle) = (Tally::default(), Oracle::default());
        let mut packets = packets::Stream::default();
        for generation in 0..60 {
            let snapshot = policy::snapshot(&mut rng);
            let before = dataplane.counters().unwrap();
            let devices: BTreeSet<_> = before.peers.iter().map(|peer| peer.device.to_string()).collect();
            let rules: BTreeSet<_> = before.rules.iter().map(|(rule, _)| rule.to_string()).collect();
            apply(&mut dataplane, &snapshot);
            oracle.change(&snapshot);
            // What was away, device or rule, comes back with counters at zero; what is away is not reported.
            tally.0.retain(|key, _| match key.split(' ').collect::<Vec<_>>()[..] {
                ["ingress", ..] | ["rule", "default_deny" | "implicit", ..] => true,
                ["rule", rule, ..] => {
                    rules.contains(rule) && snapshot.rules.iter().any(|now| now.id.to_string() == rule)
                }
                [device, ..] => {
                    devices.contains(device)
                        && snapshot.peers.iter().any(|peer| peer.device.to_string() == device)
                }
                [] => false,
            });
            let model = model::from_snapshot(&snapshot, &[]).unwrap();
            for _ in 0..400 {
                let packet = packets.next(&mut rng);
                if packet.bytes.len() < SHORTEST_RUN {
                    continue;
                }
                let expected = oracle.ingress(&snapshot, &model, &packet);
                let actual = run(&dataplane, INGRESS, &packet.bytes);
                let wanted =
                    if matches!(expected, Expected::Pass { .. }) { Answer::Pass } else { Answer::Drop };
                assert_eq!(
                    actual, wanted,
                    "seed {seed}, case {case}.{generation}: {expected:?}\n{packet:?}\n{snapshot:#?}"
                );
                tally.ingress(expected, &packet.bytes);
                passed += u32::from(wanted == Answer::Pass);
            }
            let counted = flat(&dataplane.counters().unwrap());
            assert_eq!(counted, tally.0, "seed {seed}, case {case}.{generation}: counters");
        }
    }
    assert!(passed > 2_000, "seed {seed}: only {passed} packets passed; both answers must be seen");
}
