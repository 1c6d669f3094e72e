//! The verdict on one packet: the specification.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
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
    /// No rule speaks of it, and no prefix of a resource covers where it goes.
    Excluded,
}

/// Asks every rule that speaks at an instant.
pub fn eval(model: &Model, peer: &Peer, probe: &Probe, at: DateTime<Utc>) -> Decision {
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
            .filter(|rule| rule.when.is_active(at))
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
    let silent = if model.excludes(probe.destination) { Decision::Excluded } else { Decision::NoRule };
    matching(Effect::Allow).map_or(silent, Decision::Allow)
}

impl Model {
    /// Whether an address is one that no prefix of a resource covers. Of a device it may be all the same.
    pub fn excludes(&self, address: IpAddr) -> bool {
        self.excluded.iter().any(|cidr| cidr.contains(address))
    }
}

fn covers(model: &Model, resource: &Resource, probe: &Probe) -> bool {
    resource.holds(model, probe.destination) && resource.traffic.iter().any(|traffic| traffic.includes(probe))
}

impl Resource {
    /// Whether an address is one of this destination: of a device that it names, or in a prefix and not excluded.
    pub fn holds(&self, model: &Model, address: IpAddr) -> bool {
        let in_prefix = || self.cidrs.iter().any(|cidr| cidr.contains(address)) && !model.excludes(address);
        let of_device = |peer: &&Peer| peer.addresses.contains(&address);
        let named = |peer: &Peer| self.devices.iter().any(|subject| subject.includes(peer));
        model.peers.iter().find(of_device).is_some_and(named) || in_prefix()
    }
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
