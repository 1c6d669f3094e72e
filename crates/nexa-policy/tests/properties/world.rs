//! Random policies and packets of a small world, so that prefixes nest and rules collide.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc, Weekday};
use nexa_policy::Probe;
use nexa_policy::model::{Effect, Implicit, Model, Peer, Resource, Rule, Subject, Traffic};
use nexa_types::when::{TimeOfDay, Window, Zone};
use nexa_types::{Cidr, DeviceId, GroupId, PortRange, Protocol, ResourceId, RuleId, UserId, When};
use proptest::prelude::*;

fn id(index: u8) -> uuid::Uuid {
    uuid::Uuid::from_u128(index.into())
}

pub fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..2_u8, 0..8_u8).prop_map(|(net, host)| IpAddr::from([10, 0, net, host])),
        (0..8_u16).prop_map(|host| IpAddr::from([0xfd20, 0, 0, 0, 0, 0, 0, host])),
        Just(IpAddr::from([100, 96, 0, 1])),
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (address(), prop::sample::select(vec![0_u8, 8, 24, 29, 31, 32])).prop_map(|(address, length)| {
        let length = if address.is_ipv6() { length * 4 } else { length };
        Cidr::new(ipnet::IpNet::new(address, length).unwrap().trunc()).unwrap()
    })
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let protocol = prop::sample::select(vec![
        Protocol::Any,
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::Icmp,
        Protocol::Number(132),
    ]);
    (protocol, 440..446_u16, 0..4_u16).prop_map(|(protocol, first, more)| Traffic {
        protocol,
        ports: PortRange::new(first, first + more).unwrap(),
    })
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        Just(Subject::Everyone),
        (0..3_u8).prop_map(|index| Subject::Group(GroupId(id(index)))),
        (0..2_u8).prop_map(|index| Subject::User(UserId(id(index)))),
        (0..3_u8).prop_map(|index| Subject::Device(DeviceId(id(index)))),
    ]
}

/// One of the few hours of a day that limits speak of.
pub fn at() -> impl Strategy<Value = DateTime<Utc>> {
    let monday = DateTime::from_timestamp(1_764_547_200, 0).unwrap();
    (0..10_i64).prop_map(move |hours| monday + TimeDelta::hours(hours))
}

fn when() -> impl Strategy<Value = When> {
    let hours = (0..8_u16, 1..3_u16).prop_map(|(from, hours)| {
        let [from, to] = [from, from + hours].map(|hour| TimeOfDay::new(hour, 0).unwrap());
        Window::new([Weekday::Mon], from, to, Zone::UTC).unwrap()
    });
    prop_oneof![
        Just(When::ALWAYS),
        (at(), 1..5_i64).prop_map(|(from, hours)| {
            When::new(Some(from), Some(from + TimeDelta::hours(hours)), vec![]).unwrap()
        }),
        prop::collection::vec(hours, 1..3).prop_map(|weekly| When::new(None, None, weekly).unwrap()),
    ]
}

pub fn rule() -> impl Strategy<Value = Rule> {
    (
        any::<bool>(),
        prop::collection::vec(subject(), 0..3),
        // One more than there are resources: an id that the model does not hold.
        prop::collection::vec(0..5_u8, 0..3),
        when(),
    )
        .prop_map(|(allow, who, what, when)| Rule {
            id: RuleId(0),
            effect: if allow { Effect::Allow } else { Effect::Deny },
            who,
            what: what.into_iter().map(|index| ResourceId(id(index))).collect(),
            when,
        })
}

pub fn model() -> impl Strategy<Value = Model> {
    let resource = (
        prop::collection::vec(cidr(), 0..4),
        prop::collection::vec(subject(), 0..2),
        prop::collection::vec(traffic(), 0..3),
    )
        .prop_map(|(cidrs, devices, traffic)| Resource { cidrs, devices, traffic });
    let peer = prop::collection::btree_set((0..3_u8).prop_map(|index| GroupId(id(index))), 0..3);
    (
        prop::collection::vec(resource, 4),
        prop::collection::vec(rule(), 0..8),
        prop::collection::vec(peer, 3),
        prop::collection::vec(
            cidr().prop_filter("some room is left", |cidr| cidr.net().prefix_len() > 8),
            0..2,
        ),
    )
        .prop_map(|(resources, rules, groups, excluded)| Model {
            peers: groups
                .into_iter()
                .zip(0..)
                .map(|(groups, index)| Peer {
                    device: DeviceId(id(index)),
                    user: UserId(id(index / 2)),
                    groups,
                    addresses: vec![
                        [10, 0, 0, index].into(),
                        [0xfd20, 0, 0, 0, 0, 0, 0, u16::from(index)].into(),
                    ],
                })
                .collect(),
            resources: resources
                .into_iter()
                .zip(0..)
                .map(|(item, index)| (ResourceId(id(index)), item))
                .collect(),
            rules: rules
                .into_iter()
                .zip(1..)
                .map(|(rule, number)| Rule { id: RuleId(number), ..rule })
                .collect(),
            implicit: vec![Implicit {
                cidr: "100.96.0.1".parse().unwrap(),
                traffic: Traffic { protocol: Protocol::Udp, ports: PortRange::new(443, 443).unwrap() },
            }],
            excluded,
        })
}

pub fn probe() -> impl Strategy<Value = Probe> {
    let protocol = prop::sample::select(vec![1_u8, 6, 6, 6, 17, 17, 58, 132, 47]);
    (address(), protocol, 438..450_u16).prop_map(|(destination, protocol, port)| Probe {
        destination,
        protocol,
        port,
    })
}
