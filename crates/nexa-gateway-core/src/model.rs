//! From a snapshot to the policy's own terms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexa_policy::Compiler;
use nexa_policy::model::{Effect, Implicit, Model, Peer, Resource, Rule, Subject, Traffic};
use nexa_types::{Cidr, DeviceId, PortRange, Protocol, PublicKey, ResourceId, RuleId};
use nexa_wire::local::Exclusion;
use nexa_wire::snapshot::{self, Snapshot};

mod parts;
mod roll;

pub(crate) use self::parts::{Parts, difference};
pub(crate) use self::roll::Roll;

/// Why a snapshot is refused. Nothing of it is then used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A source address must say who sends.
    #[error("address {0} belongs to two devices; give one of them another address")]
    AddressTwice(IpAddr),
    /// A device outside the pool, or on the gateway's own address, would not be guarded as a device.
    #[error(
        "address {0} is not one that a device may have; it must lie in a tunnel pool and not be the gateway's"
    )]
    AddressForeign(IpAddr),
    /// A device is one.
    #[error("device {0} is there twice")]
    DeviceTwice(DeviceId),
    /// A destination is one.
    #[error("resource {0} is there twice")]
    ResourceTwice(ResourceId),
    /// A key must say who sends.
    #[error("key {0} belongs to two devices; enrol one of them again")]
    KeyTwice(PublicKey),
    /// Rule numbers name verdicts, and 0 names what is implicit.
    #[error("rule number {0} is used twice or is 0")]
    RuleNumber(RuleId),
    /// A rule must not silently lose what it denies.
    #[error("rule {rule} names resource {resource}, which the snapshot does not hold")]
    UnknownResource {
        /// The rule.
        rule: RuleId,
        /// What it names.
        resource: ResourceId,
    },
    /// An empty list could be read as everything.
    #[error("{0} has an empty list, which means nothing; remove it or fill the list")]
    EmptyList(String),
}

/// Reads a snapshot as a policy. `local` are the gateway's own addresses, which no resource covers.
///
/// # Errors
/// [`ModelError`], naming the first contradiction found.
pub fn from_snapshot(snapshot: &Snapshot, local: &[IpAddr]) -> Result<Model, ModelError> {
    let Snapshot { network, peers, resources, rules } = snapshot;
    let nobody = Compiler::new(&[], Vec::new());
    Parts { peers, resources, rules, ..Parts::default() }.check(network, &nobody, &Roll::default())?;
    Ok(Model {
        peers: peers.iter().map(peer).collect(),
        resources: resources.iter().map(|item| (item.id, resource(item))).collect(),
        rules: rules.iter().map(rule).collect(),
        implicit: implicit(network),
        excluded: excluded(network, local),
    })
}

fn peer(peer: &snapshot::Peer) -> Peer {
    Peer {
        device: peer.device,
        user: peer.user,
        groups: peer.groups.iter().copied().collect(),
        addresses: peer.addresses().to_vec(),
    }
}

fn resource(resource: &snapshot::Resource) -> Resource {
    let traffic = resource.traffic.iter().map(|traffic| Traffic {
        protocol: traffic.protocol(),
        ports: traffic.ports().unwrap_or(PortRange::ANY),
    });
    Resource {
        cidrs: resource.cidrs.clone(),
        devices: resource.devices.iter().copied().map(subject).collect(),
        traffic: traffic.collect(),
    }
}

fn rule(rule: &snapshot::Rule) -> Rule {
    Rule {
        id: rule.id,
        effect: match rule.effect {
            snapshot::Effect::Allow => Effect::Allow,
            snapshot::Effect::Deny => Effect::Deny,
        },
        who: rule.who.iter().copied().map(subject).collect(),
        what: rule.what.iter().map(|snapshot::Target::Resource(id)| *id).collect(),
        when: rule.when.clone(),
    }
}

const fn subject(subject: snapshot::Subject) -> Subject {
    match subject {
        snapshot::Subject::Everyone => Subject::Everyone,
        snapshot::Subject::Group(id) => Subject::Group(id),
        snapshot::Subject::User(id) => Subject::User(id),
        snapshot::Subject::Device(id) => Subject::Device(id),
    }
}

/// What every peer may reach without a rule: tunnel DNS, the proxy's ports, and echo to the tunnel address.
pub(crate) fn implicit(network: &snapshot::Network) -> Vec<Implicit> {
    let port = |number| PortRange::new(number, number).unwrap_or(PortRange::ANY);
    let tunnel: [IpAddr; 2] = [network.tunnel_v4.into(), network.tunnel_v6.into()];
    let proxy = network.proxy_v4.map(IpAddr::from).into_iter().chain(network.proxy_v6.map(IpAddr::from));
    let at = |address, protocol, ports| Implicit {
        cidr: Cidr::host(address),
        traffic: Traffic { protocol, ports },
    };

    let mut grants = Vec::new();
    for address in tunnel {
        grants.push(at(address, Protocol::Udp, port(53)));
        grants.push(at(address, Protocol::Tcp, port(53)));
        grants.push(at(address, Protocol::Icmp, PortRange::ANY));
    }
    for address in proxy {
        grants.push(at(address, Protocol::Tcp, port(80)));
        grants.push(at(address, Protocol::Tcp, port(443)));
        grants.push(at(address, Protocol::Udp, port(443)));
    }
    grants
}

/// Addresses that no resource covers, also not 0.0.0.0/0 and ::/0.
pub(crate) fn excluded(network: &snapshot::Network, local: &[IpAddr]) -> Vec<Cidr> {
    exclusions(network, local).map(|(cidr, _)| cidr).collect()
}

/// What an address is that no resource covers; nothing of all others.
pub fn exclusion(network: &snapshot::Network, local: &[IpAddr], address: IpAddr) -> Option<Exclusion> {
    exclusions(network, local).find(|(cidr, _)| cidr.contains(address)).map(|(_, what)| what)
}

/// What is excluded, and as what. Of an address that is several, the first holds.
fn exclusions<'a>(
    network: &snapshot::Network,
    local: &'a [IpAddr],
) -> impl Iterator<Item = (Cidr, Exclusion)> + use<'a> {
    let v4 = |a, b, c, d, length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length));
    let v6 = |address: [u16; 8], length| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(address), length));
    let fixed = [
        (v4(0, 0, 0, 0, 8), Exclusion::Unspecified), // "this network", RFC 1122
        (v4(127, 0, 0, 0, 8), Exclusion::Loopback),
        (v4(169, 254, 169, 254, 32), Exclusion::Metadata),
        (v4(169, 254, 0, 0, 16), Exclusion::LinkLocal),
        (v4(224, 0, 0, 0, 4), Exclusion::Multicast),
        (v4(240, 0, 0, 0, 4), Exclusion::Reserved), // broadcast, too
        (v6([0; 8], 128), Exclusion::Unspecified),
        (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Exclusion::Loopback),
        (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), Exclusion::MappedV4),
        (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Exclusion::LinkLocal),
        (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), Exclusion::Metadata), // of AWS
        (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Exclusion::Multicast),
    ];
    let pools = [network.pool_v4, network.pool_v6].map(|pool| (pool, Exclusion::TunnelPool));
    fixed
        .into_iter()
        .filter_map(|(net, what)| Some((Cidr::new(net).ok()?, what)))
        .chain(local.iter().map(|address| (Cidr::host(*address), Exclusion::Gateway)))
        .chain(pools)
}
