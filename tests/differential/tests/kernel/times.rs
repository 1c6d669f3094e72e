//! Times of rules, held by the kernel alone: after one swap nobody writes anything.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use nexa_differential::craft::{End, end, flag, tcp};
use nexa_gateway::dataplane::{Dataplane, EGRESS, INGRESS};
use nexa_gateway_core::lower;
use nexa_types::{RuleId, When};
use nexa_wire::snapshot::{Effect, Rule, Snapshot, Subject};

use crate::flows::granted;
use crate::{Answer, flat, open, run};

/// Long enough for what is done before a rule ends, on a loaded machine too.
const SOON: TimeDelta = TimeDelta::seconds(3);

fn until(end: DateTime<Utc>) -> When {
    When::new(None, Some(end), vec![]).unwrap()
}

fn from(begin: DateTime<Utc>) -> When {
    When::new(Some(begin), None, vec![]).unwrap()
}

/// The rule of [`granted`], once more as another.
fn rule(number: u32, effect: Effect, who: Subject, when: When) -> Rule {
    Rule { id: RuleId(number), effect, who: vec![who], when, ..granted().rules[0].clone() }
}

/// Installs what `policy` says of an instant soon, and says which that is.
fn install(policy: impl FnOnce(DateTime<Utc>) -> Snapshot) -> (Dataplane, DateTime<Utc>) {
    // Loading programs takes as long as it takes.
    let mut dataplane = open();
    let now = Utc::now();
    let soon = now + SOON;
    dataplane.apply(&lower(&policy(soon), &[], now).unwrap(), now + TimeDelta::days(1)).unwrap();
    (dataplane, soon)
}

/// Waits until the kernel answers with a drop, which it does from `at` on and hardly before.
fn wait_for_drop(at: DateTime<Utc>, answer: impl Fn() -> Answer) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while answer() == Answer::Pass {
        assert!(Instant::now() < deadline, "still passes");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Utc::now() > at - TimeDelta::milliseconds(100), "dropped too early");
}

fn ends() -> [(End, End); 2] {
    [(end("100.96.0.2", 40_000), end("10.20.0.10", 443)), (end("fd6e:7861::2", 40_000), end("fd20::10", 443))]
}

#[test]
fn a_rule_that_ends_takes_its_flows_along_though_nobody_writes_the_maps() {
    let (dataplane, ends_at) = install(|soon| {
        let mut snapshot = granted();
        snapshot.rules[0].when = until(soon);
        snapshot
    });
    let response = |(peer, server)| tcp(server, peer, flag::ACK);
    for (peer, server) in ends() {
        assert_eq!(run(&dataplane, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass);
        assert_eq!(run(&dataplane, EGRESS, &response((peer, server))), Answer::Pass);
    }
    for (peer, server) in ends() {
        wait_for_drop(ends_at, || run(&dataplane, EGRESS, &response((peer, server))));
        for (port, flags) in [(peer.port, flag::ACK), (peer.port + 1, flag::SYN)] {
            assert_eq!(run(&dataplane, INGRESS, &tcp(End { port, ..peer }, server, flags)), Answer::Drop);
        }
    }
    let counted = flat(&dataplane.counters().unwrap());
    assert!(
        counted.contains_key("ingress no_rule") && !counted.contains_key("ingress rule_deny"),
        "{counted:?}"
    );
}

#[test]
fn where_one_rule_ends_and_another_allows_the_same_no_packet_is_lost() {
    for other in [Subject::Everyone, granted().rules[0].who[0]] {
        let (dataplane, ends_at) = install(|soon| {
            let mut snapshot = granted();
            snapshot.rules[0].when = until(soon);
            snapshot.rules.push(rule(8, Effect::Allow, other, When::ALWAYS));
            snapshot
        });
        let (peer, server) = ends()[0];
        assert_eq!(run(&dataplane, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass);
        let request = tcp(peer, server, flag::ACK);
        while Utc::now() < ends_at + TimeDelta::milliseconds(200) {
            assert_eq!(run(&dataplane, INGRESS, &request), Answer::Pass);
        }
    }
}

#[test]
fn a_deny_that_begins_ends_what_another_set_allows_though_nobody_writes_the_maps() {
    let user = granted().rules[0].who[0];
    // Of whom the rule is that allows, and of whom the one that denies: of the peer alone, or of all.
    for (allowed, denied) in [(user, Subject::Everyone), (Subject::Everyone, user), (user, user)] {
        let (dataplane, begins_at) = install(|soon| {
            let rules = vec![
                rule(7, Effect::Allow, allowed, When::ALWAYS),
                rule(8, Effect::Deny, denied, from(soon)),
            ];
            Snapshot { rules, ..granted() }
        });
        let (peer, server) = ends()[0];
        assert_eq!(run(&dataplane, INGRESS, &tcp(peer, server, flag::SYN)), Answer::Pass);
        wait_for_drop(begins_at, || run(&dataplane, INGRESS, &tcp(peer, server, flag::ACK)));
        assert_eq!(run(&dataplane, EGRESS, &tcp(server, peer, flag::ACK)), Answer::Drop);
    }
}
