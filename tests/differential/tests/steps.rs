//! A policy that is changed step by step is in the maps what it is when it is compiled, lowered and planned from nothing.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::engine::{self, Now};
use nexa_abi::layout::Direction;
use nexa_abi::packet;
use nexa_differential::host::HostTables;
use nexa_differential::oracle::{Expected, Oracle};
use nexa_differential::packets::Packet;
use nexa_differential::{effort, packets, policy, seed};
use nexa_gateway_core::install::{Found, Moment};
use nexa_gateway_core::{Installer, Lowered, lower, model};
use nexa_types::DeviceId;
use nexa_wire::snapshot::{Snapshot, Target};

/// Two clocks, of which one may be set.
#[derive(Clone, Copy)]
struct Clocks {
    boot_ns: u64,
    wall: DateTime<Utc>,
}

impl Clocks {
    fn moment(self) -> Moment {
        Moment { boot_ns: self.boot_ns, wall: self.wall, lease_until: self.wall + TimeDelta::days(1) }
    }

    /// Time goes by, and now and then somebody sets the wall clock.
    fn go_on(&mut self, rng: &mut fastrand::Rng) {
        let passed = policy::STEP * rng.i32(0..2) / 2 + TimeDelta::seconds(1);
        self.boot_ns += u64::try_from(passed.num_nanoseconds().unwrap()).unwrap();
        self.wall += passed;
        if rng.u8(0..10) == 0 {
            self.wall += policy::STEP * rng.i32(-2..=2);
        }
    }
}

/// Maps, and who fills them.
struct Gateway {
    tables: HostTables,
    lowered: Lowered,
    installer: Installer,
}

impl Gateway {
    fn start(snapshot: &Snapshot, clocks: Clocks) -> Self {
        let lowered = lower(snapshot, &[], clocks.wall).unwrap();
        let (installer, plan) = Installer::adopt(&Found::default(), &lowered, clocks.moment());
        let mut tables = HostTables::default();
        tables.carry_out(&plan);
        Self { tables, lowered, installer }
    }

    fn step(&mut self, snapshot: &Snapshot, clocks: Clocks) {
        self.lowered.set(snapshot, &[], clocks.wall).unwrap();
        self.tables.carry_out(&self.installer.plan(&self.lowered, clocks.moment()));
    }

    fn verdict(&self, packet: &Packet, clocks: Clocks) -> Option<Expected> {
        let devices: HashMap<u32, DeviceId> = self.installer.devices().collect();
        let mut parsed = packet::parse(packet.bytes.as_slice()).ok()?;
        let verdict = engine::judge(
            &self.tables,
            &mut parsed,
            Direction::Ingress,
            &Now::at(&self.tables, clocks.boot_ns),
        );
        let device = devices.get(&verdict.peer).copied();
        Some(match verdict.dropped {
            None => Expected::Pass { device: device.unwrap(), rule: verdict.rule },
            Some(reason) => Expected::Drop { device, reason, rule: verdict.rule },
        })
    }
}

/// A snapshot that contradicts itself, made of one that does not.
fn broken(rng: &mut fastrand::Rng, snapshot: &Snapshot) -> Snapshot {
    let mut broken = snapshot.clone();
    policy::change(rng, &mut broken);
    match rng.u8(0..3) {
        0 if broken.peers.len() > 1 => broken.peers[0].v4 = broken.peers[1].v4,
        1 if !broken.rules.is_empty() => {
            let Target::Resource(named) = broken.rules[0].what[0];
            broken.resources.retain(|resource| resource.id != named);
        }
        _ => broken.peers.extend(broken.peers.last().cloned()),
    }
    broken
}

#[test]
fn steps_lead_where_a_start_from_nothing_does_and_leave_nothing_behind() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut passed, mut untouched, mut all) = (0, 0, 0);
    for case in 0..30 * effort() {
        let mut clocks = Clocks { boot_ns: 1_000_000_000_000, wall: policy::at() };
        let mut usual = policy::snapshot(&mut rng);
        let mut gateway = Gateway::start(&usual, clocks);
        for step in 0..40 {
            if rng.u8(0..20) == 0 {
                usual = policy::snapshot(&mut rng);
            } else {
                policy::change(&mut rng, &mut usual);
            }
            let mut snapshot = usual.clone();
            if let [one, other, ..] = &mut snapshot.peers[..]
                && rng.u8(0..4) == 0
            {
                // For a while each has the addresses of the other.
                std::mem::swap(&mut one.v4, &mut other.v4);
                std::mem::swap(&mut one.v6, &mut other.v6);
            }
            if rng.u8(0..4) == 0 {
                let refused = broken(&mut rng, &snapshot);
                gateway.lowered.set(&refused, &[], clocks.wall).unwrap_err();
            }
            clocks.go_on(&mut rng);
            let before = gateway.tables.find();
            gateway.step(&snapshot, clocks);
            let after = gateway.tables.find();
            // What no resource covers stays whatever the policy.
            let excluded = gateway.tables.content().excluded;
            let granted = || after.dest.iter().filter(|(_, key)| key.set() != excluded);
            all += granted().count();
            untouched += granted().filter(|entry| before.dest.contains(entry)).count();

            let mut at_once = Gateway::start(&snapshot, clocks);
            let context = || format!("seed {seed}, case {case}.{step}, at {}\n{snapshot:#?}", clocks.wall);
            assert_eq!(gateway.tables.len(), at_once.tables.len(), "{}", context());
            assert_eq!(gateway.lowered.next_change(), at_once.lowered.next_change(), "{}", context());
            assert_eq!(gateway.installer.content(), gateway.tables.content(), "{}", context());
            gateway.tables.forget_flows();
            let model = model::from_snapshot(&snapshot, &[]).unwrap();
            for _ in 0..20 {
                let packet = packets::from_peer(&mut rng);
                let verdict = gateway.verdict(&packet, clocks);
                assert_eq!(verdict, at_once.verdict(&packet, clocks), "{packet:?}\n{}", context());
                passed += u32::from(matches!(verdict, Some(Expected::Pass { .. })));
                gateway.tables.forget_flows();
                at_once.tables.forget_flows();
                let mut oracle = Oracle::default();
                oracle.set_clock(clocks.wall);
                let expected = oracle.ask(&snapshot, &model, Direction::Ingress, &packet);
                assert!(
                    verdict.is_none_or(|verdict| verdict == expected),
                    "{packet:?}: {expected:?}\n{}",
                    context()
                );
            }
        }
    }
    assert!(passed > 500, "seed {seed}: only {passed} packets passed; both answers must be seen");
    // A share, as policies differ in size: a third is usual, and none stays where sets are numbered anew.
    assert!(
        untouched * 5 > all,
        "seed {seed}: only {untouched} of {all} prefixes stayed; steps must leave what they do not touch"
    );
}
