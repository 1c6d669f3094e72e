//! How long conversations live, and what ends with the lease: the engine on the host, by a clock of the test's own.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use chrono::{DateTime, TimeDelta, Utc};
use nexa_abi::layout::Direction::{self, Egress, Ingress};
use nexa_abi::reason::Reason;
use nexa_differential::craft::{End, echo_reply, echo_request, end, flag, tcp, udp};
use nexa_differential::engine::Engine;
use nexa_differential::oracle::Expected;
use nexa_differential::policy;
use nexa_differential::trial::Answers as _;
use nexa_types::{PortRange, Protocol, When};
use nexa_wire::snapshot::{Effect, Subject, Traffic};

const PEER: &str = "100.96.0.2";
const SERVER: &str = "10.0.0.7";

/// The engine under a policy that grants all peers everything in 10.0.0.0/8.
fn engine() -> Engine {
    let mut snapshot = (0..).map(|seed| policy::snapshot(&mut fastrand::Rng::with_seed(seed)));
    let mut snapshot = snapshot.find(|snapshot| !snapshot.rules.is_empty()).unwrap();
    snapshot.rules.truncate(1);
    snapshot.rules[0].when = When::default();
    snapshot.rules[0].effect = Effect::Allow;
    snapshot.rules[0].who = vec![Subject::Everyone];
    for resource in &mut snapshot.resources {
        resource.cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        let all = |protocol| Traffic::new(protocol, Some(PortRange::ANY)).unwrap();
        let icmp = Traffic::new(Protocol::Icmp, None).unwrap();
        resource.traffic = vec![all(Protocol::Tcp), all(Protocol::Udp), icmp];
    }
    let mut engine = Engine::default();
    engine.apply(&snapshot);
    engine
}

fn later(seconds: i64) -> DateTime<Utc> {
    policy::at() + TimeDelta::seconds(seconds)
}

fn ends() -> (End, End) {
    (end(PEER, 40_000), end(SERVER, 443))
}

fn reason(answer: Expected) -> Option<Reason> {
    match answer {
        Expected::Pass { .. } => None,
        Expected::Drop { reason, .. } => Some(reason),
    }
}

/// Sends packets one after the other, all of which pass; then `answer` passes until `limit` seconds later, not after.
fn lives(name: &str, packets: &[(Direction, Vec<u8>)], answer: &[u8], limit: i64) {
    for (after, wanted) in [(limit - 1, None), (limit, Some(Reason::NoFlow))] {
        let engine = engine();
        for (direction, packet) in packets {
            assert_eq!(reason(engine.answer(*direction, packet)), None, "{name}");
        }
        let answered = engine.answer_at(later(after), Egress, answer);
        assert_eq!(reason(answered), wanted, "{name}, after {after} s of silence");
    }
}

#[test]
fn conversations_end_after_a_silence_that_their_protocol_and_progress_allow() {
    let (peer, server) = ends();
    let (opening, answer) = ((Ingress, tcp(peer, server, flag::SYN)), tcp(server, peer, flag::ACK));
    let answered = [opening.clone(), (Egress, answer.clone())];
    let closing = [answered.as_slice(), &[(Ingress, tcp(peer, server, flag::FIN | flag::ACK))]].concat();
    lives("TCP half open", &[opening], &answer, 30);
    lives("TCP established", &answered, &answer, 2 * 3600 + 240);
    lives("TCP closing", &closing, &answer, 30);

    let (asked, answer) = ((Ingress, udp(peer, server)), udp(server, peer));
    lives("UDP", std::slice::from_ref(&asked), &answer, 30);
    lives("UDP answered", &[asked, (Egress, answer.clone())], &answer, 180);

    let (peer, server) = (end(PEER, 77), end(SERVER, 0));
    let (asked, answer) = ((Ingress, echo_request(peer, server)), echo_reply(server, peer));
    lives("ICMP", std::slice::from_ref(&asked), &answer, 30);
    lives("ICMP answered", &[asked, (Egress, answer.clone())], &answer, 30);
}

#[test]
fn what_is_heard_keeps_a_conversation_alive() {
    let (peer, server) = ends();
    let engine = engine();
    assert_eq!(reason(engine.answer(Ingress, &udp(peer, server))), None);
    for after in (20..600).step_by(20) {
        assert_eq!(
            reason(engine.answer_at(later(after), Egress, &udp(server, peer))),
            None,
            "after {after} s"
        );
    }
}

#[test]
fn with_the_lease_all_ends_in_both_directions() {
    const LEASE: i64 = 30 * 24 * 3600;
    let (peer, server) = ends();
    let engine = engine();
    let opening = tcp(peer, server, flag::SYN);
    assert_eq!(reason(engine.answer_at(later(LEASE - 60), Ingress, &opening)), None);
    let answer = tcp(server, peer, flag::ACK);
    assert_eq!(reason(engine.answer_at(later(LEASE - 59), Egress, &answer)), None);
    for (direction, packet) in [(Ingress, &opening), (Egress, &answer)] {
        let ended = engine.answer_at(later(LEASE), direction, packet);
        assert_eq!(reason(ended), Some(Reason::LeaseExpired), "{direction:?}");
    }
}
