//! The verdict on one packet: the specification.

use std::net::IpAddr;

use nexa_types::{Protocol, RuleId};

use crate::model::{Effect, IMPLICIT, Model, Peer, Resource, Traffic};

/// IANA numbers, as packets carry them.
pub mod number {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Destination address.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port; of ICMP, type and code; 0 for protocols that have neither.
    pub port: u16,
}

/// What policy says of a packet, and the rule that says it: the lowest of the deciding effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Admitted. By [`IMPLICIT`], if by no rule.
    Allow(RuleId),
    /// Refused by a rule.
    Deny(RuleId),
    /// No rule speaks of it.
    NoRule,
}

/// Asks every rule.
pub fn eval(model: &Model, peer: &Peer, probe: &Probe) -> Decision {
    let matching = |effect| {
        model
            .rules
            .iter()
            .filter(|rule| rule.effect == effect && rule.who.iter().any(|subject| subject.includes(peer)))
            .filter(|rule| {
                rule.what
                    .iter()
                    .filter_map(|id| model.resources.get(id))
                    .any(|resource| covers(model, resource, probe))
            })
            .map(|rule| rule.id)
            .min()
    };
    if let Some(rule) = matching(Effect::Deny) {
        return Decision::Deny(rule);
    }
    if model
        .implicit
        .iter()
        .any(|grant| grant.cidr.contains(probe.destination) && grant.traffic.includes(probe))
    {
        return Decision::Allow(IMPLICIT);
    }
    matching(Effect::Allow).map_or(Decision::NoRule, Decision::Allow)
}

fn covers(model: &Model, resource: &Resource, probe: &Probe) -> bool {
    resource.cidrs.iter().any(|cidr| cidr.contains(probe.destination))
        && !model.excluded.iter().any(|cidr| cidr.contains(probe.destination))
        && resource.traffic.iter().any(|traffic| traffic.includes(probe))
}

impl Traffic {
    /// Whether a packet is of this protocol and to one of these ports.
    pub fn includes(&self, probe: &Probe) -> bool {
        match self.protocol {
            Protocol::Any => true,
            Protocol::Tcp => probe.protocol == number::TCP && self.ports.contains(probe.port),
            Protocol::Udp => probe.protocol == number::UDP && self.ports.contains(probe.port),
            Protocol::Icmp => matches!(probe.protocol, number::ICMP | number::ICMPV6),
            Protocol::Number(number) => probe.protocol == number,
        }
    }
}
