//! A policy that changes, and who follows it.

use std::collections::{BTreeMap, BTreeSet};

use nexa_policy::Compiler;
use nexa_policy::compile::{Change, ClassId, CompiledPeer, Grant, Set, SetId, Touched};
use nexa_policy::model::Model;
use nexa_types::{Cidr, DeviceId, RuleId, When};

/// Takes over some parts of another model: those whose id has a bit in `which`, and of those the new ones and the gone ones.
pub fn change(model: &mut Model, other: Model, which: u8) -> Change {
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

pub type Content = BTreeMap<DeviceId, [BTreeMap<Cidr, Vec<Grant>>; 2]>;

/// What every peer's sets say, whatever their numbers.
pub fn content(compiler: &Compiler, model: &Model) -> Content {
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

pub fn size(compiler: &Compiler) -> [usize; 2] {
    [compiler.sets().count(), compiler.classes().count()]
}

/// What somebody knows who looks only at what is touched.
#[derive(Debug, Default, PartialEq)]
pub struct Seen {
    sets: BTreeMap<SetId, Vec<(Cidr, ClassId)>>,
    classes: BTreeMap<ClassId, Vec<(Grant, When)>>,
    peers: BTreeMap<DeviceId, CompiledPeer>,
    rules: BTreeSet<RuleId>,
}

impl Seen {
    pub fn all(compiler: &Compiler) -> Self {
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

    pub fn look(&mut self, compiler: &mut Compiler) {
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
