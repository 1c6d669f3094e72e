//! An answer that is wrong on purpose is found, and told in so few steps that a person sees what is wrong.

use std::collections::HashSet;

use nexa_abi::layout::Direction;
use nexa_differential::engine::Engine;
use nexa_differential::oracle::Expected;
use nexa_differential::packets::{Packet, Question};
use nexa_differential::seed;
use nexa_differential::trial::{self, Answers, Disagreement, Length, Step};
use nexa_wire::snapshot::{Effect, Snapshot};

/// The engine with a fault, made anew for each case.
struct Faulty<N, F> {
    engine: Engine,
    new_fault: N,
    fault: F,
}

impl<N: Fn() -> F, F: FnMut(Direction, &Packet, bool) -> bool> Answers for Faulty<N, F> {
    fn reset(&mut self) {
        self.engine.reset();
        self.fault = (self.new_fault)();
    }

    fn apply(&mut self, snapshot: &Snapshot) {
        self.engine.apply(snapshot);
    }

    fn check(&mut self, direction: Direction, packet: &Packet, expected: Expected) -> Result<(), String> {
        let passes = self.engine.answer(direction, &packet.bytes).passes();
        let passes = (self.fault)(direction, packet, passes);
        if passes == expected.passes() { Ok(()) } else { Err(format!("passes: {passes}")) }
    }

    fn check_sums(&mut self) -> Result<(), String> {
        Ok(())
    }
}

fn found<F: FnMut(Direction, &Packet, bool) -> bool>(new_fault: impl Fn() -> F) -> Disagreement {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut faulty = Faulty { engine: Engine::default(), fault: new_fault(), new_fault };
    let disagreement =
        trial::random(&mut rng, Length { generations: 200, packets: 100 }, &mut faulty, || true);
    match disagreement {
        Ok(count) => panic!("seed {seed}: the fault was not found in {count:?}"),
        Err(disagreement) => disagreement,
    }
}

#[test]
fn a_denied_packet_that_passes_is_told_with_one_rule_and_one_peer() {
    let disagreement = found(|| {
        |direction, packet: &Packet, passes| {
            // TCP is admitted where it asks for a port below 1024, whatever the rules say.
            let low = packet.question().is_some_and(|asked| asked.protocol == 6 && asked.port < 1024);
            passes || (direction == Direction::Ingress && low)
        }
    });
    let [Step::Policy(policy), Step::Packet(Direction::Ingress, packet)] = &disagreement.steps[..] else {
        panic!("{disagreement}")
    };
    assert!(policy.rules.is_empty() && policy.resources.is_empty(), "{disagreement}");
    assert!(policy.peers.len() <= 1, "{disagreement}");
    assert!(packet.question().is_some_and(|asked| asked.protocol == 6), "{disagreement}");
}

#[test]
fn a_flow_that_outlives_its_rule_is_told_with_what_made_it_and_what_should_have_ended_it() {
    let disagreement = found(|| {
        let mut admitted: HashSet<[String; 5]> = HashSet::new();
        move |direction, packet: &Packet, passes| {
            let Some(Question { source, destination, protocol, from_port, port }) = packet.question() else {
                return passes;
            };
            let key = [
                source.to_string(),
                destination.to_string(),
                protocol.to_string(),
                from_port.to_string(),
                port.to_string(),
            ];
            if passes && direction == Direction::Ingress {
                admitted.insert(key.clone());
            }
            passes || (direction == Direction::Ingress && admitted.contains(&key))
        }
    });
    let steps = &disagreement.steps;
    assert!(
        matches!(steps[..], [Step::Policy(_), Step::Packet(..), Step::Policy(_), Step::Packet(..)]),
        "{disagreement}"
    );
    let (Step::Policy(first), Step::Packet(_, packet)) = (&steps[0], &steps[1]) else { unreachable!() };
    assert!(first.rules.len() <= 1 && !first.peers.is_empty(), "{disagreement}");
    // One device, or two where one sends to the other.
    let Some(asked) = packet.question() else { panic!("{disagreement}") };
    let ends = [asked.source, asked.destination];
    for peer in &first.peers {
        assert!(ends.contains(&peer.v4.into()) || ends.contains(&peer.v6.into()), "{disagreement}");
    }
    assert!(first.rules.iter().all(|rule| rule.effect == Effect::Allow), "{disagreement}");
}

#[test]
fn a_case_reads_as_a_policy_and_a_packet() {
    let disagreement = found(|| {
        |direction, packet: &Packet, passes: bool| {
            passes
                && !(direction == Direction::Ingress
                    && packet.question().is_some_and(|asked| asked.protocol == 17))
        }
    });
    let text = disagreement.to_string();
    for words in ["0. policy\n", "device-", "allows", "packet from a peer: ", "asks UDP ", "expected Pass"] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
    assert!(text.lines().count() < 12, "{text}");
}
