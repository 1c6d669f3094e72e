//! Why a packet is admitted or refused, in terms that an admin can act on.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use nexa_types::{PortRange, Protocol, RuleId};

use crate::eval::{Decision, Probe, eval, number};
use crate::model::{Effect, Model, Peer, Resource, Rule};

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What [`eval()`] says.
    pub decision: Decision,
    /// Of a refusal, the allow rule that came closest: it differs in one thing only.
    pub nearest: Option<NearMiss>,
}

/// An allow rule that would have admitted the packet, but for one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The rule; the lowest where several miss by the same thing.
    pub rule: RuleId,
    /// What is different.
    pub differs: Difference,
}

/// What keeps a rule from admitting a packet. What only time is in the way of comes first: nothing about the packet is
/// wrong. Then in the order in which people err: the wrong port most often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The very packet is granted, at another time.
    Time {
        /// When next; nothing where never again.
        next: Option<DateTime<Utc>>,
    },
    /// Other ports of the same protocol are granted: these.
    Port(Vec<PortRange>),
    /// Other protocols to the same destination are granted: these.
    Protocol(Vec<Protocol>),
    /// The destination is granted, but to others.
    Subject,
    /// The same protocol and port are granted, but elsewhere.
    Destination,
}

/// Explains the verdict on a packet of a peer at an instant.
pub fn explain(model: &Model, peer: &Peer, probe: &Probe, at: DateTime<Utc>) -> Explanation {
    let decision = eval(model, peer, probe, at);
    let nearest = match decision {
        Decision::Allow(_) | Decision::Deny(_) => None,
        Decision::NoRule | Decision::Excluded => nearest(model, peer, probe, at),
    };
    Explanation { decision, nearest }
}

fn nearest(model: &Model, peer: &Peer, probe: &Probe, at: DateTime<Utc>) -> Option<NearMiss> {
    // What no resource covers is not one thing away from being granted, unless it is a device.
    let is_device = model.peers.iter().any(|peer| peer.addresses.contains(&probe.destination));
    if !is_device && model.excludes(probe.destination) {
        return None;
    }
    model
        .rules
        .iter()
        .filter(|rule| rule.effect == Effect::Allow)
        .filter_map(|rule| {
            Some(NearMiss { rule: rule.id, differs: difference(model, rule, peer, probe, at)? })
        })
        .min_by_key(|miss| (rank(&miss.differs), miss.rule))
}

/// The one thing that differs; nothing where more than one does.
fn difference(
    model: &Model,
    rule: &Rule,
    peer: &Peer,
    probe: &Probe,
    at: DateTime<Utc>,
) -> Option<Difference> {
    let resources: Vec<&Resource> = rule.what.iter().filter_map(|id| model.resources.get(id)).collect();
    let reached = |resource: &&&Resource| resource.holds(model, probe.destination);
    let spoken = |resource: &Resource| resource.traffic.iter().any(|traffic| traffic.includes(probe));

    if !rule.when.is_active(at) {
        let granted = rule.who.iter().any(|subject| subject.includes(peer))
            && resources.iter().filter(reached).any(|resource| spoken(resource));
        return granted.then(|| Difference::Time { next: rule.when.next_active(at) });
    }
    if !rule.who.iter().any(|subject| subject.includes(peer)) {
        let granted_to_others = resources.iter().filter(reached).any(|resource| spoken(resource));
        return granted_to_others.then_some(Difference::Subject);
    }
    let there: Vec<&Resource> = resources.iter().filter(reached).copied().collect();
    if there.is_empty() {
        return resources.iter().any(|resource| spoken(resource)).then_some(Difference::Destination);
    }
    let traffic = || there.iter().flat_map(|resource| &resource.traffic);
    let ports: BTreeSet<PortRange> = traffic()
        .filter(|traffic| {
            matches!(
                (traffic.protocol, probe.protocol),
                (Protocol::Tcp, number::TCP) | (Protocol::Udp, number::UDP)
            )
        })
        .map(|traffic| traffic.ports)
        .collect();
    if !ports.is_empty() {
        return Some(Difference::Port(ports.into_iter().collect()));
    }
    let protocols: BTreeSet<Protocol> = traffic().map(|traffic| traffic.protocol).collect();
    (!protocols.is_empty()).then(|| Difference::Protocol(protocols.into_iter().collect()))
}

const fn rank(difference: &Difference) -> u8 {
    match difference {
        Difference::Time { .. } => 0,
        Difference::Port(_) => 1,
        Difference::Protocol(_) => 2,
        Difference::Subject => 3,
        Difference::Destination => 4,
    }
}
