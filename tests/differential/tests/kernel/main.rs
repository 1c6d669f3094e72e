//! The programs in the kernel, run on packets that never were on a wire (BPF_PROG_TEST_RUN).
//!
//! Needs root, or CAP_BPF and CAP_NET_ADMIN; attaches nothing.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;

use anyhow::Context as _;
use aya::{TestRun as _, TestRunOptions};
use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::engine::Limit;
use nexa_differential::policy;
use nexa_gateway::dataplane::{Counters, Dataplane, Options};
use nexa_gateway_core::lower;
use nexa_wire::snapshot::Snapshot;

mod devices;
mod events;
mod excluded;
mod flows;
mod fragments;
mod killed;
mod limits;
mod memory;
mod overflow;
mod questions;
mod reasons;
mod refused_calls;
mod reload;
mod restart;
mod skb;
mod specification;
mod swap;
mod tally;
mod times;
mod xdp_guard;

/// What the programs answer, as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// TC_ACT_UNSPEC.
    Pass,
    /// TC_ACT_SHOT.
    Drop,
}

fn open() -> Dataplane {
    Dataplane::open(&Options { max_flows: 1 << 16, new_flow_limit: Limit::NONE, ..Options::default() })
        .expect("loading programs needs root, or CAP_BPF and CAP_NET_ADMIN")
}

/// For a lease that is the same for all, so that it is no change.
fn apply(dataplane: &mut Dataplane, snapshot: &Snapshot) {
    apply_until(dataplane, snapshot, policy::at() + TimeDelta::days(1));
}

fn apply_for(dataplane: &mut Dataplane, snapshot: &Snapshot, lease: TimeDelta) {
    apply_until(dataplane, snapshot, Utc::now() + lease);
}

fn apply_until(dataplane: &mut Dataplane, snapshot: &Snapshot, lease_until: DateTime<Utc>) {
    dataplane.apply(&lower(snapshot, &[], policy::at()).unwrap(), lease_until).unwrap();
}

/// Whether BPF_PROG_TEST_RUN takes a packet. It reads 14 bytes as an Ethernet header also where there is none, and newer
/// kernels refuse with EINVAL what by its type would be IP and is too short for that: what comes from 8.0.0.0/16, or from an
/// IPv6 address with 86dd as its third group.
fn can_be_run(bytes: &[u8]) -> bool {
    let least = match bytes.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        _ => 14,
    };
    bytes.len() >= least
}

fn run(dataplane: &Dataplane, program: &str, bytes: &[u8]) -> Answer {
    let options = TestRunOptions { data_in: Some(bytes), ..TestRunOptions::default() };
    let run = || {
        dataplane
            .program(program)?
            .test_run(options)
            .with_context(|| format!("BPF_PROG_TEST_RUN failed on {} bytes {bytes:02x?}", bytes.len()))
    };
    match run().unwrap().return_value {
        u32::MAX => Answer::Pass,
        2 => Answer::Drop,
        other => panic!("{program} answered {other}"),
    }
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
    for (rule, counted) in &counters.rules {
        flat.insert(format!("rule {rule} allowed packets"), counted.allowed_packets);
        flat.insert(format!("rule {rule} allowed bytes"), counted.allowed_bytes);
        flat.insert(format!("rule {rule} denied packets"), counted.denied_packets);
        flat.insert(format!("rule {rule} denied bytes"), counted.denied_bytes);
    }
    flat.retain(|_, count| *count > 0);
    flat
}
