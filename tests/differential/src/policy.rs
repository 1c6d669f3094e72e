//! Random snapshots.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use chrono::{DateTime, Datelike as _, DurationRound as _, TimeDelta, Timelike as _, Utc};
use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexa_types::when::{TimeOfDay, Window, Zone};
use nexa_types::{
    Cidr, DeviceId, GatewayId, GroupId, PortRange, Protocol, PublicKey, ResourceId, RuleId, UserId, When,
};
use nexa_wire::snapshot::{Effect, Network, Peer, Resource, Rule, Snapshot, Subject, Target, Traffic};
use uuid::Uuid;

/// Peers that exist in every snapshot of the same size; their addresses end in 2, 3, 4, …
pub const MAX_PEERS: u8 = 6;

/// The instant around which rules begin and end to speak: the minute in which this run began. The kernel has no other clock.
pub fn at() -> DateTime<Utc> {
    static AT: LazyLock<DateTime<Utc>> =
        LazyLock::new(|| Utc::now().duration_trunc(TimeDelta::minutes(1)).expect("a minute is short"));
    *AT
}

/// Limits in time are whole steps from [`at`], so that none is passed while a test runs.
pub const STEP: TimeDelta = TimeDelta::hours(4);

/// A snapshot in which much collides: few addresses, few ports, nested prefixes, denies among allows.
pub fn snapshot(rng: &mut Rng) -> Snapshot {
    let resources: Vec<Resource> = (0..rng.u8(1..6)).map(|index| resource(rng, index)).collect();
    let rules = (0..rng.u32(0..14)).map(|index| rule(rng, index + 1, &resources)).collect();
    let peers = (0..rng.u8(2..=MAX_PEERS)).map(|index| peer(rng, index)).collect();
    Snapshot { network: network(), peers, resources, rules }
}

/// A snapshot that knows nobody and grants nothing.
pub fn empty() -> Snapshot {
    Snapshot { network: network(), peers: vec![], resources: vec![], rules: vec![] }
}

/// Makes one change or a few to a snapshot: as an admin would, but without sense. Devices keep their addresses.
pub fn change(rng: &mut Rng, snapshot: &mut Snapshot) {
    for _ in 0..rng.u8(1..4) {
        let Snapshot { peers, resources, rules, .. } = snapshot;
        match rng.u8(0..9) {
            0..4 => {
                let number = rng.u32(1..14);
                rules.retain(|rule| rule.id.0 != number);
                if rng.u8(0..3) > 0 {
                    rules.push(rule(rng, number, resources));
                }
            }
            4..6 => {
                let position = rng.usize(0..resources.len());
                resources[position] = resource(rng, uuid_index(resources[position].id.0));
            }
            6 if resources.len() > 1 => {
                let gone = resources.swap_remove(rng.usize(0..resources.len())).id;
                for rule in rules.iter_mut() {
                    rule.what.retain(|target| *target != Target::Resource(gone));
                }
                rules.retain(|rule| !rule.what.is_empty());
            }
            7 if peers.len() > 1 => drop(peers.swap_remove(rng.usize(0..peers.len()))),
            _ => {
                let index = rng.u8(0..MAX_PEERS);
                let new = peer(rng, index);
                let known = peers.iter().position(|peer| peer.device == new.device);
                match known {
                    Some(position) => peers[position].groups = new.groups,
                    None => peers.push(new),
                }
            }
        }
    }
}

/// The index that an id was made of.
fn uuid_index(id: Uuid) -> u8 {
    id.as_bytes()[15]
}

/// A snapshot in which all is as before but for one device: it goes, is a member elsewhere, has another end, or a rule of
/// its own.
pub fn with_one_device_changed(rng: &mut Rng, before: &Snapshot) -> Snapshot {
    let mut after = before.clone();
    if after.peers.is_empty() {
        return after;
    }
    let at = rng.usize(0..after.peers.len());
    let peer = &mut after.peers[at];
    match rng.u8(0..4) {
        0 => drop(after.peers.remove(at)),
        1 => match peer.groups.pop() {
            Some(_) => {}
            None => peer.groups.push(GroupId(id(3, rng.u8(0..3)))),
        },
        2 => peer.expires_at = Some(self::at() + TimeDelta::hours(rng.i64(1..20))),
        _ => {
            let who = vec![Subject::Device(peer.device)];
            let number = after.rules.iter().map(|rule| rule.id.0).max().unwrap_or(0) + 1;
            after.rules.push(Rule { who, ..rule(rng, number, &before.resources) });
        }
    }
    after
}

/// The network of every snapshot.
pub fn network() -> Network {
    Network {
        gateway: GatewayId(id(0, 0)),
        pool_v4: cidr("100.96.0.0/16"),
        pool_v6: cidr("fd6e:7861::/64"),
        tunnel_v4: Ipv4Addr::new(100, 96, 0, 1),
        tunnel_v6: Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, 1),
        proxy_v4: None,
        proxy_v6: None,
        listen_port: 51900,
        mtu: 1420,
    }
}

/// An address of the LAN side: in the middle of the prefixes that resources are made of, or anywhere.
pub fn destination(rng: &mut Rng, v6: bool) -> IpAddr {
    if v6 {
        let host = u16::from(rng.u8(0..8));
        match rng.u8(0..16) {
            0 => Ipv6Addr::from(rng.u128(..)).into(),
            1 => Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, host).into(),
            2 => Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, host).into(),
            _ => Ipv6Addr::new(0xfd20, 0, 0, u16::from(rng.u8(0..2)), 0, 0, 0, host).into(),
        }
    } else {
        match rng.u8(0..16) {
            0 => Ipv4Addr::from(rng.u32(..)).into(),
            1 => Ipv4Addr::new(100, 96, 0, rng.u8(0..8)).into(),
            2 => Ipv4Addr::new(169, 254, 169, 254).into(),
            _ => Ipv4Addr::new(10, 0, rng.u8(0..2), rng.u8(0..8)).into(),
        }
    }
}

/// A port of the few that rules speak of, or any.
pub fn port(rng: &mut Rng) -> u16 {
    match rng.u8(0..4) {
        0 => rng.u16(..),
        1 => 53,
        _ => rng.u16(440..450),
    }
}

fn peer(rng: &mut Rng, index: u8) -> Peer {
    let mut key = [7; 32];
    key[0] = index;
    Peer {
        device: DeviceId(id(1, index)),
        name: format!("device-{index}"),
        user: UserId(id(2, index / 2)),
        owner: format!("user-{}", index / 2),
        groups: (0..3).filter(|_| rng.bool()).map(|group| GroupId(id(3, group))).collect(),
        public_key: PublicKey::from_bytes(key).expect("not zero"),
        v4: Ipv4Addr::new(100, 96, 0, index + 2),
        v6: Ipv6Addr::new(0xfd6e, 0x7861, 0, 0, 0, 0, 0, u16::from(index) + 2),
        expires_at: None,
    }
}

fn resource(rng: &mut Rng, index: u8) -> Resource {
    Resource {
        id: ResourceId(id(4, index)),
        name: format!("resource-{index}"),
        cidrs: (0..rng.u8(1..4)).map(|_| prefix(rng)).collect(),
        devices: (0..rng.u8(0..6).saturating_sub(3)).map(|_| subject(rng)).collect(),
        traffic: (0..rng.u8(1..4)).map(|_| traffic(rng)).collect(),
    }
}

fn prefix(rng: &mut Rng) -> Cidr {
    let v6 = rng.bool();
    let net = match destination(rng, v6) {
        IpAddr::V4(v4) => {
            IpNet::V4(Ipv4Net::new_assert(v4, *one(rng, &[0, 8, 16, 16, 23, 24, 24, 29, 30, 31, 32])))
        }
        IpAddr::V6(v6) => {
            IpNet::V6(Ipv6Net::new_assert(v6, *one(rng, &[0, 16, 63, 63, 64, 64, 125, 126, 127, 128])))
        }
    };
    Cidr::new(net.trunc()).expect("no host bits are left")
}

fn traffic(rng: &mut Rng) -> Traffic {
    let protocol = *one(
        rng,
        &[
            Protocol::Any,
            Protocol::Tcp,
            Protocol::Tcp,
            Protocol::Tcp,
            Protocol::Udp,
            Protocol::Udp,
            Protocol::Icmp,
            Protocol::Number(132),
        ],
    );
    let ports = matches!(protocol, Protocol::Tcp | Protocol::Udp).then(|| match rng.u8(0..4) {
        0 => PortRange::ANY,
        1 => PortRange::new(1, 1023).expect("in order"),
        _ => {
            let first = port(rng).max(1);
            PortRange::new(first, first.saturating_add(rng.u16(0..4))).expect("in order")
        }
    });
    Traffic::new(protocol, ports).expect("ports exactly where there are any")
}

fn rule(rng: &mut Rng, number: u32, resources: &[Resource]) -> Rule {
    Rule {
        id: RuleId(number),
        effect: if rng.u8(0..5) == 0 { Effect::Deny } else { Effect::Allow },
        who: (0..rng.u8(1..3)).map(|_| subject(rng)).collect(),
        what: (0..rng.u8(1..3)).map(|_| Target::Resource(one(rng, resources).id)).collect(),
        when: when(rng),
    }
}

/// Limits that often meet those of others, and of which about every second speaks at [`at`].
fn when(rng: &mut Rng) -> When {
    let mut span = || (at() + STEP * rng.i32(-2..=2), STEP * rng.i32(1..=4));
    let ((from, lasts), other) = (span(), span());
    match rng.u8(0..8) {
        0 => When::new(Some(from), None, vec![]),
        1 => When::new(None, Some(from), vec![]),
        2 => When::new(Some(from), Some(from + lasts), vec![]),
        3 => When::new(None, None, vec![window(from, lasts), window(other.0, other.1)]),
        4 => When::new(None, Some(other.0), vec![window(from, lasts)]),
        _ => Ok(When::ALWAYS),
    }
    .expect("in order")
}

/// A weekly window that is open at some time of this week.
fn window(from: DateTime<Utc>, lasts: TimeDelta) -> Window {
    let time = |at: DateTime<Utc>| {
        let [hour, minute] =
            [at.hour(), at.minute()].map(|number| u16::try_from(number).expect("of a clock"));
        TimeOfDay::new(hour, minute).expect("of a clock")
    };
    Window::new([from.weekday()], time(from), time(from + lasts), Zone::UTC).expect("shorter than a day")
}

fn subject(rng: &mut Rng) -> Subject {
    match rng.u8(0..6) {
        0 => Subject::Everyone,
        1 => Subject::User(UserId(id(2, rng.u8(0..3)))),
        2 => Subject::Device(DeviceId(id(1, rng.u8(0..MAX_PEERS)))),
        _ => Subject::Group(GroupId(id(3, rng.u8(0..3)))),
    }
}

fn one<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.usize(0..items.len())]
}

fn id(kind: u8, index: u8) -> Uuid {
    Uuid::from_u128(u128::from(kind) << 8 | u128::from(index))
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("written right")
}
