//! What one device may not take from the others.

use nexa_abi::engine::Limit;
use nexa_differential::craft::{End, end, udp};
use nexa_gateway::dataplane::{Dataplane, EGRESS, INGRESS, Options};

use crate::flows::granted;
use crate::{Answer, apply, flat, run};

/// So slow that no test lasts until there is another.
const SLOW: Limit = Limit { interval_ns: 3_600_000_000_000, ahead_ns: 3 * 3_600_000_000_000 };

#[test]
fn a_device_that_begins_flows_too_fast_keeps_those_it_has_and_others_begin_theirs() {
    let mut dataplane = Dataplane::open(&Options { new_flow_limit: SLOW, ..Options::default() }).unwrap();
    let mut snapshot = granted();
    snapshot.rules[0].who = vec![nexa_wire::snapshot::Subject::Everyone];
    apply(&mut dataplane, &snapshot);
    let server = end("10.20.0.10", 53);
    let from = |port| end("100.96.0.2", port);
    let ask = |from: End| run(&dataplane, INGRESS, &udp(from, server));
    for port in 1..=3 {
        assert_eq!(ask(from(port)), Answer::Pass, "flow {port} of a burst of three");
    }
    assert_eq!(ask(from(4)), Answer::Drop, "one too many");
    assert_eq!(ask(from(1)), Answer::Pass, "it has that one");
    assert_eq!(run(&dataplane, EGRESS, &udp(server, from(2))), Answer::Pass, "and its answers");
    assert_eq!(run(&dataplane, EGRESS, &udp(server, from(4))), Answer::Drop, "that flow never began");
    assert_eq!(ask(end("100.96.0.3", 1)), Answer::Pass, "another device");

    let counted = flat(&dataplane.counters().unwrap());
    assert_eq!(counted.get("ingress new_flow_limit"), Some(&1), "{counted:?}");
    assert_eq!(counted.get("rule 7 allowed packets"), Some(&6), "{counted:?}");
    assert_eq!(counted.get("rule 7 denied packets"), None, "no rule has refused it: {counted:?}");
}

#[test]
fn a_new_policy_decides_flows_anew_and_counts_none_of_them_as_begun() {
    let mut dataplane = Dataplane::open(&Options { new_flow_limit: SLOW, ..Options::default() }).unwrap();
    apply(&mut dataplane, &granted());
    let (peer, server) = (end("100.96.0.2", 1), end("10.20.0.10", 53));
    for generation in 0..5 {
        let mut snapshot = granted();
        snapshot.resources[0].cidrs.push(format!("10.30.{generation}.0/24").parse().unwrap());
        apply(&mut dataplane, &snapshot);
        assert_eq!(run(&dataplane, INGRESS, &udp(peer, server)), Answer::Pass, "generation {generation}");
    }
}
