//! Packets that have to do with each other: what peers ask, what answers them, and what only looks like an answer.

use fastrand::Rng;
use nexa_abi::layout::Direction;

use super::{Nature, Packet, Part, Question, from_peer, network, packet, peer, to_peer, transport};
use crate::policy;

/// How many questions are remembered of each kind.
const MEMORY: usize = 32;

/// A stream of packets in both directions.
#[derive(Debug, Default)]
pub struct Talk {
    /// Questions that went on, the oldest overwritten first.
    passed: Vec<Question>,
    /// Questions that were refused.
    refused: Vec<Question>,
    count: usize,
    /// A first fragment whose others are still to come.
    first: Option<(Direction, Packet)>,
}

impl Talk {
    /// The next packet, and which way it goes. After a first fragment it is mostly soon a later one of its datagram.
    pub fn next(&mut self, rng: &mut Rng) -> (Direction, Packet) {
        if let Some((direction, first)) = self.first.take_if(|_| rng.bool()) {
            let later = network::later(rng, &first);
            self.first = (rng.u8(0..3) == 0).then_some((direction, first));
            return (direction, later);
        }
        let (direction, packet) = self.another(rng);
        if matches!(packet.part, Part::First(_)) && packet.nature != Nature::Broken {
            self.first = Some((direction, packet.clone()));
        }
        (direction, packet)
    }

    fn another(&self, rng: &mut Rng) -> (Direction, Packet) {
        let Some(question) = self.recall(rng) else { return (Direction::Ingress, from_peer(rng)) };
        match rng.u8(0..32) {
            0..14 => (Direction::Ingress, from_peer(rng)),
            14..17 => (Direction::Ingress, again(rng, &question)),
            // A peer reports that it could not take the answer.
            17..19 => (Direction::Ingress, report(rng, &question.reversed())),
            19..24 => (Direction::Egress, answer(rng, &question)),
            24..27 => (Direction::Egress, near_answer(rng, question)),
            27 => (Direction::Egress, report(rng, &question)),
            28 => (Direction::Egress, again(rng, &question)),
            29 => (Direction::Egress, initiation(rng)),
            _ => (Direction::Egress, to_peer(rng)),
        }
    }

    /// Remembers what a peer asked, so that later packets may answer it.
    pub fn remember(&mut self, packet: &Packet, passed: bool) {
        let Some(question) = packet.question() else { return };
        let memory = if passed { &mut self.passed } else { &mut self.refused };
        self.count += 1;
        if memory.len() < MEMORY {
            memory.push(question);
        } else {
            memory[self.count % MEMORY] = question;
        }
    }

    fn recall(&self, rng: &mut Rng) -> Option<Question> {
        let memory = if rng.u8(0..8) == 0 || self.passed.is_empty() { &self.refused } else { &self.passed };
        rng.choice(memory).copied()
    }
}

/// The same question once more, with another header.
fn again(rng: &mut Rng, question: &Question) -> Packet {
    let payload = transport::carry(rng, question);
    network::packet(rng, question.source, question.destination, payload)
}

fn answer(rng: &mut Rng, question: &Question) -> Packet {
    let payload = transport::answer(rng, question);
    network::packet(rng, question.destination, question.source, payload)
}

/// An answer to what was not asked quite so.
fn near_answer(rng: &mut Rng, mut question: Question) -> Packet {
    let v6 = question.source.is_ipv6();
    match rng.u8(0..5) {
        0 => question.from_port = question.from_port.wrapping_add(1),
        1 => question.port = question.port.wrapping_add(1),
        2 => question.destination = policy::destination(rng, v6),
        3 => question.source = peer(rng, v6),
        _ => {
            question.protocol = match question.protocol {
                6 => 17,
                17 => 6,
                // The request itself, the other way.
                _ => {
                    return again(
                        rng,
                        &Question { source: question.destination, destination: question.source, ..question },
                    );
                }
            }
        }
    }
    answer(rng, &question)
}

/// An error about a packet, sent to who sent that packet.
fn report(rng: &mut Rng, about: &Question) -> Packet {
    let v6 = about.source.is_ipv6();
    // A router on the way, or the receiver itself.
    let reporter = if rng.bool() { about.destination } else { policy::destination(rng, v6) };
    let payload = transport::report(rng, v6, *about);
    network::packet(rng, reporter, about.source, payload)
}

/// A question of the LAN to a peer, from a port that answers come from.
fn initiation(rng: &mut Rng) -> Packet {
    let v6 = rng.bool();
    let (source, destination) = (policy::destination(rng, v6), peer(rng, v6));
    if rng.u8(0..4) == 0 {
        return packet(rng, source, destination);
    }
    let protocol = if rng.bool() { 6 } else { 17 };
    let question = Question {
        source,
        destination,
        protocol,
        from_port: if rng.bool() { 443 } else { 53 },
        port: policy::port(rng),
    };
    again(rng, &question)
}
