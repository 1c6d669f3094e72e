//! A company's policy in any size: the same for the same numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexa_types::{
    Cidr, DeviceId, GatewayId, GroupId, PortRange, Protocol, PublicKey, ResourceId, RuleId, UserId, When,
};
use nexa_wire::snapshot::{Effect, Network, Peer, Resource, Rule, Snapshot, Subject, Target, Traffic};
use uuid::Uuid;

/// Groups, of which each user is in one, besides the one of all.
pub(super) const GROUPS: u32 = 40;
/// One rule in so many is for everybody.
const FOR_ALL: u32 = 50;
/// Lengths of IPv4 prefixes by hundredths: few wide ones, in which the narrow ones nest.
const LENGTHS: [(u32, u8); 5] = [(1, 16), (4, 20), (25, 24), (35, 28), (100, 32)];

/// A snapshot with `peers` devices of as many users in `groups` groups, a private rule for each of them, and `rules`
/// rules besides, all of the same effect.
pub(super) fn snapshot(peers: u32, groups: u32, rules: u32, effect: Effect) -> Result<Snapshot> {
    let mut rng = Rng::with_seed(u64::from(peers) << 32 | u64::from(rules));
    let mut snapshot = Snapshot { network: network()?, peers: vec![], resources: vec![], rules: vec![] };
    for index in 0..peers {
        snapshot.peers.push(peer(index, groups)?);
    }
    for number in 0..rules + peers {
        let resource = ResourceId(id(4, number));
        let private = number.checked_sub(rules);
        let (cidrs, traffic) = match private {
            None => (prefixes(&mut rng)?, traffic(&mut rng)?),
            Some(peer) => {
                (hosts(peer), vec![Traffic::new(Protocol::Tcp, Some(PortRange::new(3389, 3389)?))?])
            }
        };
        let who = match private {
            None if number % FOR_ALL == 0 => Subject::Everyone,
            None => Subject::Group(group(number % groups)),
            Some(peer) => Subject::Device(DeviceId(id(1, peer))),
        };
        let name = format!("resource-{number}");
        snapshot.resources.push(Resource { id: resource, name, cidrs, devices: vec![], traffic });
        let (id, what) = (RuleId(number + 1), vec![Target::Resource(resource)]);
        snapshot.rules.push(Rule { id, effect, who: vec![who], what, when: When::ALWAYS });
    }
    Ok(snapshot)
}

fn network() -> Result<Network> {
    Ok(Network {
        gateway: GatewayId(id(0, 0)),
        pool_v4: "100.96.0.0/16".parse()?,
        pool_v6: "fd6e:7861::/64".parse()?,
        tunnel_v4: Ipv4Addr::new(100, 96, 0, 1),
        tunnel_v6: Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, 1),
        proxy_v4: None,
        proxy_v6: None,
        listen_port: 51900,
        mtu: 1420,
    })
}

fn peer(index: u32, groups: u32) -> Result<Peer> {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&index.to_be_bytes());
    let host = index + 2;
    Ok(Peer {
        device: DeviceId(id(1, index)),
        name: format!("device-{index}"),
        user: UserId(id(2, index)),
        owner: format!("user-{index}"),
        groups: vec![group(index % groups)],
        public_key: PublicKey::from_bytes(key).context("a key")?,
        v4: Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 96, 0, 0)) + host),
        v6: Ipv6Addr::from(u128::from(Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, 0)) + u128::from(host)),
        expires_at: None,
    })
}

/// A prefix of each family, of like width, somewhere in 256 sites.
fn prefixes(rng: &mut Rng) -> Result<Vec<Cidr>> {
    let roll = rng.u32(0..100);
    let length = LENGTHS.iter().find(|(below, _)| roll < *below).map_or(32, |(_, length)| *length);
    // Few subnets a site, so that narrow prefixes lie in wide ones.
    let (site, subnet, host) = (rng.u8(..), rng.u8(0..64), rng.u8(..));
    let v4 = Ipv4Net::new(Ipv4Addr::new(10, site, subnet, host), length).context("a prefix")?.trunc();
    let v6 = Ipv6Addr::new(0xfd20, 0, u16::from(site), u16::from(subnet), 0, 0, 0, u16::from(host));
    let length = match length {
        16 => 48,
        20 => 60,
        24 => 64,
        28 => 124,
        _ => 128,
    };
    let v6 = Ipv6Net::new(v6, length).context("a prefix")?.trunc();
    Ok(vec![Cidr::new(IpNet::V4(v4))?, Cidr::new(IpNet::V6(v6))?])
}

/// What only one peer may reach: its desk.
fn hosts(peer: u32) -> Vec<Cidr> {
    let [_, _, high, low] = peer.to_be_bytes();
    let v4 = Ipv4Addr::new(10, high, 200, low);
    let v6 = Ipv6Addr::new(0xfd20, 0, u16::from(high), 200, 0, 0, 0, u16::from(low));
    [IpAddr::V4(v4), IpAddr::V6(v6)].map(Cidr::host).to_vec()
}

/// One or two services.
fn traffic(rng: &mut Rng) -> Result<Vec<Traffic>> {
    let mut traffic = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let ports = match rng.u8(0..4) {
            0 if protocol == Protocol::Udp => continue,
            0 => PortRange::new(8000, 8063),
            _ => rng
                .choice([53, 80, 123, 443, 514, 1194, 3306, 5060, 5432, 6443, 9090])
                .map_or(PortRange::new(443, 443), |port| PortRange::new(port, port)),
        }?;
        traffic.push(Traffic::new(protocol, Some(ports))?);
    }
    Ok(traffic)
}

fn group(index: u32) -> GroupId {
    GroupId(id(3, index))
}

fn id(kind: u8, index: u32) -> Uuid {
    Uuid::from_u128(u128::from(kind) << 32 | u128::from(index))
}
