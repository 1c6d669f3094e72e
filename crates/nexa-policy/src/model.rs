//! Peers, resources and rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nexa_types::{Cidr, DeviceId, GroupId, PortRange, Protocol, ResourceId, RuleId, UserId, When};

/// The number under which implicit grants are named. No rule has it: rules count from 1.
pub const IMPLICIT: RuleId = RuleId(0);

/// Everything a verdict depends on.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Devices that may connect; all others are unknown.
    pub peers: Vec<Peer>,
    /// Destinations, by the id that rules name.
    pub resources: BTreeMap<ResourceId, Resource>,
    /// In any order.
    pub rules: Vec<Rule>,
    /// What every peer may reach without a rule: tunnel DNS, the proxy, echo to the tunnel address.
    pub implicit: Vec<Implicit>,
    /// Addresses that no prefix of a resource covers, whatever it says: tunnel pools, the gateway itself, loopback.
    pub excluded: Vec<Cidr>,
}

/// A device that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The device.
    pub device: DeviceId,
    /// Its owner.
    pub user: UserId,
    /// The owner's groups.
    pub groups: BTreeSet<GroupId>,
    /// Its addresses inside the tunnel. No other peer has one of them.
    pub addresses: Vec<IpAddr>,
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Where.
    pub cidrs: Vec<Cidr>,
    /// Devices that it also is. What no prefix covers, devices are reached by.
    pub devices: Vec<Subject>,
    /// What of it.
    pub traffic: Vec<Traffic>,
}

/// A protocol and, for TCP and UDP, destination ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Traffic {
    /// The protocol.
    pub protocol: Protocol,
    /// Looked at only if the protocol is TCP or UDP.
    pub ports: PortRange,
}

/// Whether a rule admits or refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Admits.
    Allow,
    /// Refuses, whatever else allows.
    Deny,
}

/// Whom a rule speaks of, or which devices a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Every peer.
    Everyone,
    /// Devices of a group's members.
    Group(GroupId),
    /// Devices of a user.
    User(UserId),
    /// One device.
    Device(DeviceId),
}

/// Who may, or may not, reach what. One without subjects or resources speaks of nobody or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The rule.
    pub id: RuleId,
    /// What it does.
    pub effect: Effect,
    /// Who.
    pub who: Vec<Subject>,
    /// What. An id that the model does not hold means nothing.
    pub what: Vec<ResourceId>,
    /// When. At other times it is as if there were no such rule.
    pub when: When,
}

/// A destination that every peer may reach without a rule. Exclusions do not hold for it; denies do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Implicit {
    /// Where.
    pub cidr: Cidr,
    /// What of it.
    pub traffic: Traffic,
}

impl Subject {
    /// Whether `peer` is meant.
    pub fn includes(self, peer: &Peer) -> bool {
        match self {
            Self::Everyone => true,
            Self::Group(group) => peer.groups.contains(&group),
            Self::User(user) => peer.user == user,
            Self::Device(device) => peer.device == device,
        }
    }
}

impl Traffic {
    /// Every protocol.
    pub const ANY: Self = Self { protocol: Protocol::Any, ports: PortRange::ANY };
}
