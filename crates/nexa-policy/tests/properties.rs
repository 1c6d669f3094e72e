//! What holds for every policy, peer and packet.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc, Weekday};
use nexa_policy::compile::{Change, ClassId, CompiledPeer, Grant, Set, SetId, Touched};
use nexa_policy::model::{Effect, IMPLICIT, Implicit, Model, Peer, Resource, Rule, Subject, Traffic};
use nexa_policy::{Compiler, Decision, Probe, compile, eval, explain};
use nexa_types::when::{TimeOfDay, Window, Zone};
use nexa_types::{Cidr, DeviceId, GroupId, PortRange, Protocol, ResourceId, RuleId, UserId, When};
use proptest::prelude::*;

// A small world, so that prefixes nest and rules collide.

fn id(index: u8) -> uuid::Uuid {
    uuid::Uuid::from_u128(index.into())
}

fn address() -> impl Strategy<Value = IpAddr> {
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
fn at() -> impl Strategy<Value = DateTime<Utc>> {
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

fn rule() -> impl Strategy<Value = Rule> {
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

fn model() -> impl Strategy<Value = Model> {
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

fn probe() -> impl Strategy<Value = Probe> {
    let protocol = prop::sample::select(vec![1_u8, 6, 6, 6, 17, 17, 58, 132, 47]);
    (address(), protocol, 438..450_u16).prop_map(|(destination, protocol, port)| Probe {
        destination,
        protocol,
        port,
    })
}

fn compiled(model: &Model) -> Compiler {
    compile(model.clone()).unwrap()
}

/// What each of a peer's sets says of a packet, by the longest prefix, as what enforces a compiled policy finds it.
fn words<'a>(compiler: &'a Compiler, peer: &Peer, probe: &Probe) -> [Vec<&'a Grant>; 2] {
    let CompiledPeer { shared, own } = compiler.peer(peer.device).unwrap();
    [shared, own].map(|set| {
        let prefixes = compiler.set(set).into_iter().flat_map(Set::iter);
        prefixes
            .filter(|(cidr, _)| cidr.contains(probe.destination))
            .max_by_key(|(cidr, _)| cidr.net().prefix_len())
            .into_iter()
            .flat_map(|(_, class)| compiler.class(class))
            .filter(|grant| grant.traffic.includes(probe))
            .collect()
    })
}

fn when_of(model: &Model, rule: RuleId) -> When {
    model.rules.iter().find(|known| known.id == rule).map_or(When::ALWAYS, |rule| rule.when.clone())
}

fn look_up(model: &Model, compiled: &Compiler, peer: &Peer, probe: &Probe, at: DateTime<Utc>) -> Decision {
    let words = words(compiled, peer, probe).map(|grants| {
        grants.into_iter().filter(|grant| when_of(model, grant.rule).is_active(at)).collect::<Vec<_>>()
    });
    let lowest =
        |effect| words.iter().flatten().filter(|grant| grant.effect == effect).map(|grant| grant.rule).min();
    match (lowest(Effect::Deny), lowest(Effect::Allow)) {
        (Some(rule), _) => Decision::Deny(rule),
        (None, Some(rule)) => Decision::Allow(rule),
        (None, None) if model.excludes(probe.destination) => Decision::Excluded,
        (None, None) => Decision::NoRule,
    }
}

/// Takes over some parts of another model: those whose id has a bit in `which`, and of those the new ones and the gone ones.
fn change(model: &mut Model, other: Model, which: u8) -> Change {
    let takes = |id: u128| which >> (id % 8) & 1 == 1;
    let mut change = Change::default();
    let (rules, others): (Vec<_>, Vec<_>) = model.rules.drain(..).partition(|rule| !takes(rule.id.0.into()));
    change.rules.extend(others.into_iter().map(|rule| (rule.id, None)));
    let new = other.rules.into_iter().filter(|rule| takes(rule.id.0.into()));
    model.rules.extend(rules.into_iter().chain(new));
    let new = model.rules.iter().filter(|rule| takes(rule.id.0.into()));
    change.rules.extend(new.map(|rule| (rule.id, Some(rule.clone()))));

    for (id, resource) in other.resources.into_iter().filter(|(id, _)| takes(id.0.as_u128())) {
        // Each other one goes.
        let resource = (!takes(id.0.as_u128() + 4)).then_some(resource);
        match resource.clone() {
            Some(resource) => model.resources.insert(id, resource),
            None => model.resources.remove(&id),
        };
        change.resources.insert(id, resource);
    }
    for peer in other.peers.into_iter().filter(|peer| takes(peer.device.0.as_u128())) {
        let before = model.peers.iter().position(|known| known.device == peer.device);
        let gone = before.map(|position| model.peers.remove(position)).is_some() && takes(7);
        let device = peer.device;
        if !gone {
            model.peers.push(peer.clone());
        }
        change.peers.insert(device, (!gone).then_some(peer));
    }
    change
}

type Content = BTreeMap<DeviceId, [BTreeMap<Cidr, Vec<Grant>>; 2]>;

/// What every peer's sets say, whatever their numbers.
fn content(compiler: &Compiler, model: &Model) -> Content {
    let set = |id| {
        let prefixes = compiler.set(id).into_iter().flat_map(Set::iter);
        prefixes.map(|(cidr, class)| (cidr, compiler.class(class).to_vec())).collect()
    };
    let peers = model.peers.iter().map(|peer| {
        let CompiledPeer { shared, own } = compiler.peer(peer.device).unwrap();
        (peer.device, [set(shared), set(own)])
    });
    peers.collect()
}

fn size(compiler: &Compiler) -> [usize; 2] {
    [compiler.sets().count(), compiler.classes().count()]
}

/// What somebody knows who looks only at what is touched.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    sets: BTreeMap<SetId, Vec<(Cidr, ClassId)>>,
    classes: BTreeMap<ClassId, Vec<(Grant, When)>>,
    peers: BTreeMap<DeviceId, CompiledPeer>,
    rules: BTreeSet<RuleId>,
}

impl Seen {
    fn all(compiler: &Compiler) -> Self {
        let mut seen = Self::default();
        seen.see(
            compiler,
            Touched {
                sets: compiler.sets().collect(),
                classes: compiler.classes().collect(),
                retimed: BTreeSet::new(),
                peers: compiler.peers().keys().copied().collect(),
                rules: compiler.rules().keys().copied().collect(),
            },
        );
        seen
    }

    fn look(&mut self, compiler: &mut Compiler) {
        let touched = compiler.take_touched();
        self.see(compiler, touched);
    }

    fn see(&mut self, compiler: &Compiler, touched: Touched) {
        for id in touched.sets {
            match compiler.set(id) {
                Some(set) => self.sets.insert(id, set.iter().collect()),
                None => self.sets.remove(&id),
            };
        }
        let timed = |grant: &Grant| {
            (*grant, compiler.rules().get(&grant.rule).map_or(When::ALWAYS, |rule| rule.when.clone()))
        };
        for id in touched.classes.into_iter().chain(touched.retimed) {
            match compiler.class(id) {
                [] => self.classes.remove(&id),
                class => self.classes.insert(id, class.iter().map(timed).collect()),
            };
        }
        for device in touched.peers {
            match compiler.peer(device) {
                Some(peer) => self.peers.insert(device, peer),
                None => self.peers.remove(&device),
            };
        }
        for rule in touched.rules {
            if compiler.rules().contains_key(&rule) {
                self.rules.insert(rule);
            } else {
                self.rules.remove(&rule);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_policy_says_what_eval_says(model in model(), probes in prop::collection::vec((probe(), at()), 20)) {
        let compiled = compiled(&model);
        for peer in &model.peers {
            for (probe, at) in &probes {
                let looked_up = look_up(&model, &compiled, peer, probe, *at);
                prop_assert_eq!(looked_up, eval(&model, peer, probe, *at), "{:?} at {}", probe, at);
            }
        }
    }

    #[test]
    fn a_set_that_grants_knows_by_itself_every_deny_that_is_to_come(model in model(), probes in prop::collection::vec(probe(), 20)) {
        let compiled = compiled(&model);
        for (peer, probe) in model.peers.iter().flat_map(|peer| probes.iter().map(move |probe| (peer, probe))) {
            let words = words(&compiled, peer, probe);
            let to_come = |grant: &&&Grant| {
                grant.effect == Effect::Deny && !when_of(&model, grant.rule).is_always()
            };
            let denies: Vec<&Grant> = words.iter().flatten().filter(to_come).copied().collect();
            for set in words.iter().filter(|set| set.iter().any(|grant| grant.effect == Effect::Allow)) {
                prop_assert!(denies.iter().all(|deny| set.contains(deny)), "{:?}: {:?}", probe, words);
            }
        }
    }

    #[test]
    fn changes_one_after_another_come_to_what_compiling_at_once_does(
        first in model(),
        others in prop::collection::vec((model(), any::<u8>()), 1..6),
    ) {
        let mut compiler = compiled(&first);
        let mut seen = Seen::default();
        seen.look(&mut compiler);
        let mut model = first;
        for (other, which) in others {
            let before = model.clone();
            let inverse = compiler.apply(change(&mut model, other, which)).unwrap();
            seen.look(&mut compiler);
            prop_assert_eq!(&seen, &Seen::all(&compiler), "what is touched is told");
            prop_assert_eq!(content(&compiler, &model), content(&compiled(&model), &model));
            prop_assert_eq!(size(&compiler), size(&compiled(&model)), "nothing is left behind");
            let mut undone = compiler.clone();
            undone.apply(inverse).unwrap();
            prop_assert_eq!(content(&undone, &before), content(&compiled(&before), &before));
            prop_assert_eq!(size(&undone), size(&compiled(&before)));
        }
    }

    #[test]
    fn a_rule_that_does_not_speak_is_as_none(model in model(), probe in probe(), at in at()) {
        let peer = &model.peers[0];
        let mut speaking = model.clone();
        speaking.rules.retain(|rule| rule.when.is_active(at));
        for rule in &mut speaking.rules {
            rule.when = When::ALWAYS;
        }
        prop_assert_eq!(eval(&model, peer, &probe, at), eval(&speaking, peer, &probe, at));
    }

    #[test]
    fn without_rules_only_what_is_implicit_passes(model in model(), probe in probe(), at in at()) {
        let model = Model { rules: vec![], ..model };
        let decision = eval(&model, &model.peers[0], &probe, at);
        let silent = if model.excludes(probe.destination) { Decision::Excluded } else { Decision::NoRule };
        prop_assert!(decision == silent || decision == Decision::Allow(IMPLICIT), "{:?}", decision);
    }

    #[test]
    fn the_order_of_rules_means_nothing(model in model(), probe in probe(), at in at()) {
        let mut reversed = model.clone();
        reversed.rules.reverse();
        let peer = &model.peers[0];
        prop_assert_eq!(eval(&model, peer, &probe, at), eval(&reversed, peer, &probe, at));
    }

    #[test]
    fn no_allow_undoes_a_deny(model in model(), probe in probe(), at in at(), mut extra in rule()) {
        let peer = model.peers[0].clone();
        let before = eval(&model, &peer, &probe, at);
        extra.id = RuleId(100);
        extra.effect = Effect::Allow;
        let mut more = model;
        more.rules.push(extra);
        if matches!(before, Decision::Deny(_)) {
            prop_assert_eq!(eval(&more, &peer, &probe, at), before);
        }
    }

    #[test]
    fn a_deny_never_opens_anything(model in model(), probe in probe(), at in at(), mut extra in rule()) {
        let peer = model.peers[0].clone();
        let before = eval(&model, &peer, &probe, at);
        extra.id = RuleId(100);
        extra.effect = Effect::Deny;
        let mut more = model;
        more.rules.push(extra);
        if !matches!(before, Decision::Allow(_)) {
            prop_assert!(!matches!(eval(&more, &peer, &probe, at), Decision::Allow(_)));
        }
    }

    #[test]
    fn an_excluded_address_is_reached_by_no_rule(model in model(), probe in probe(), at in at()) {
        let mut model = model;
        model.excluded.push(Cidr::host(probe.destination));
        for peer in &mut model.peers {
            peer.addresses.clear();
        }
        let decision = eval(&model, &model.peers[0], &probe, at);
        prop_assert!(matches!(decision, Decision::Excluded | Decision::Allow(IMPLICIT)), "{:?}", decision);
    }

    #[test]
    fn an_excluded_device_is_reached_only_by_what_names_it(model in model(), probe in probe(), at in at()) {
        let mut model = model;
        // Granted without a rule, whatever is excluded.
        model.implicit.clear();
        let everywhere = ["10.0.0.0/8", "fd20::/16", "100.96.0.1/32"];
        model.excluded.extend(everywhere.map(|cidr| cidr.parse::<Cidr>().unwrap()));
        let named = eval(&model, &model.peers[0], &probe, at);
        for resource in model.resources.values_mut() {
            resource.devices.clear();
        }
        let unnamed = eval(&model, &model.peers[0], &probe, at);
        prop_assert!(matches!(unnamed, Decision::NoRule | Decision::Excluded), "{:?}", unnamed);
        let is_device = model.peers.iter().any(|peer| peer.addresses.contains(&probe.destination));
        prop_assert!(is_device || named == unnamed, "{:?}", named);
    }

    #[test]
    fn an_explanation_repeats_the_verdict_and_names_a_rule_that_does_not_admit(model in model(), probe in probe(), at in at()) {
        let peer = &model.peers[0];
        let explanation = explain(&model, peer, &probe, at);
        prop_assert_eq!(explanation.decision, eval(&model, peer, &probe, at));
        if let Some(miss) = explanation.nearest {
            prop_assert!(matches!(explanation.decision, Decision::NoRule | Decision::Excluded));
            let rule = model.rules.iter().find(|rule| rule.id == miss.rule).unwrap();
            prop_assert_eq!(rule.effect, Effect::Allow);
        }
    }
}
