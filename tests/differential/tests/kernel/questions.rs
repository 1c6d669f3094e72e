//! First packets of connections, put to the kernel and to the specification.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use nexa_differential::craft::{End, flag, tcp};
use nexa_differential::policy;
use nexa_gateway::dataplane::{Dataplane, INGRESS};
use nexa_gateway_core::model;
use nexa_policy::{Decision, Probe, eval};
use nexa_wire::snapshot::Snapshot;

use crate::{Answer, run};

/// A device's attempt to connect.
#[derive(Debug)]
pub struct Question {
    from: End,
    pub to: End,
}

/// Questions of all devices that a policy of the generator's may have.
pub fn questions(rng: &mut Rng, count: usize) -> Vec<Question> {
    let question = |_| {
        let v6 = rng.bool();
        let last = rng.u8(2..policy::MAX_PEERS + 2);
        let source: IpAddr = if v6 {
            Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, last.into()).into()
        } else {
            Ipv4Addr::new(100, 96, 0, last).into()
        };
        let from = End { address: source, port: rng.u16(40_000..) };
        Question { from, to: End { address: policy::destination(rng, v6), port: policy::port(rng) } }
    };
    (0..count).map(question).collect()
}

/// What the kernel does with each.
pub fn of_kernel(dataplane: &Dataplane, questions: &[Question]) -> Vec<bool> {
    let passes = |question: &Question| {
        run(dataplane, INGRESS, &tcp(question.from, question.to, flag::SYN)) == Answer::Pass
    };
    questions.iter().map(passes).collect()
}

/// What the specification says of each.
pub fn of_policy(snapshot: &Snapshot, questions: &[Question]) -> Vec<bool> {
    let model = model::from_snapshot(snapshot, &[]).unwrap();
    let allows = |question: &Question| {
        let Some(peer) = model.peers.iter().find(|peer| peer.addresses.contains(&question.from.address))
        else {
            return false;
        };
        let probe = Probe { destination: question.to.address, protocol: 6, port: question.to.port };
        matches!(eval(&model, peer, &probe, policy::at()), Decision::Allow(_))
    };
    questions.iter().map(allows).collect()
}
