//! The model, indexed by what a change of one part means for another.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use nexa_types::{DeviceId, ResourceId, RuleId};

use super::Change;
use crate::model::{Effect, Peer, Resource, Rule, Subject};

/// Rules, resources and peers.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub rules: HashMap<RuleId, Rule>,
    pub resources: HashMap<ResourceId, Resource>,
    pub peers: HashMap<DeviceId, Peer>,
    /// Whom each subject includes.
    pub members: HashMap<Subject, BTreeSet<DeviceId>>,
    /// Rules by whom they speak of.
    pub by_subject: HashMap<Subject, BTreeSet<RuleId>>,
    /// Denies with limits in time.
    pub timed_denies: BTreeSet<RuleId>,
    /// Rules by what they speak of.
    pub by_resource: HashMap<ResourceId, BTreeSet<RuleId>>,
    /// Resources by the devices that they are.
    by_devices: HashMap<Subject, BTreeSet<ResourceId>>,
}

/// What follows from a change.
#[derive(Debug, Default)]
pub struct Consequences {
    /// The change that undoes it.
    pub inverse: Change,
    /// Subjects of whom other rules speak.
    pub subjects: BTreeSet<Subject>,
    /// Rules that may say something else.
    pub rules: BTreeSet<RuleId>,
    /// Rules that say the same at other times.
    pub retimed: BTreeSet<RuleId>,
}

impl Tables {
    /// Makes a change.
    pub fn change(&mut self, change: Change) -> Consequences {
        let mut consequences = Consequences::default();
        for (id, resource) in change.resources {
            let before = self.resource(id, resource, &mut consequences);
            consequences.inverse.resources.insert(id, before);
        }
        for (id, peer) in change.peers {
            let before = self.peer(id, peer, &mut consequences);
            consequences.inverse.peers.insert(id, before);
        }
        for (id, rule) in change.rules {
            let before = self.rule(id, rule, &mut consequences);
            consequences.inverse.rules.insert(id, before);
        }
        consequences
    }

    /// Rules that speak of any of these subjects, in order.
    pub fn rules_of(&self, subjects: impl Iterator<Item = Subject>) -> Vec<RuleId> {
        let mut rules: Vec<RuleId> =
            subjects.filter_map(|subject| self.by_subject.get(&subject)).flatten().copied().collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    fn rule(&mut self, id: RuleId, after: Option<Rule>, consequences: &mut Consequences) -> Option<Rule> {
        consequences.rules.insert(id);
        let before = replace(&mut self.rules, id, after);
        let after = self.rules.get(&id);
        let (old, new) = (both(&before.as_ref(), |rule| &rule.who), both(&after, |rule| &rule.who));
        let denied_at_times = self.timed_denies.contains(&id);
        let denies_at_times = after.is_some_and(|rule| rule.effect == Effect::Deny && !rule.when.is_always());
        if denies_at_times {
            self.timed_denies.insert(id);
        } else {
            self.timed_denies.remove(&id);
        }
        if denied_at_times == denies_at_times {
            consequences.subjects.extend(old.symmetric_difference(&new));
        } else {
            consequences.subjects.extend(old.union(&new));
        }
        if let (Some(before), Some(after)) = (&before, after)
            && before.when != after.when
        {
            consequences.retimed.insert(id);
        }
        reindex(&mut self.by_subject, id, &old, &new);
        let (old, new) = (both(&before.as_ref(), |rule| &rule.what), both(&after, |rule| &rule.what));
        reindex(&mut self.by_resource, id, &old, &new);
        before
    }

    fn resource(
        &mut self,
        id: ResourceId,
        after: Option<Resource>,
        consequences: &mut Consequences,
    ) -> Option<Resource> {
        consequences.rules.extend(self.by_resource.get(&id).into_iter().flatten());
        let before = replace(&mut self.resources, id, after);
        let devices = |resource: &Option<&Resource>| both(resource, |resource| &resource.devices);
        let (old, new) = (devices(&before.as_ref()), devices(&self.resources.get(&id)));
        reindex(&mut self.by_devices, id, &old, &new);
        before
    }

    fn peer(&mut self, id: DeviceId, after: Option<Peer>, consequences: &mut Consequences) -> Option<Peer> {
        let before = replace(&mut self.peers, id, after);
        let after = self.peers.get(&id);
        let (old, new) = (subjects_of(before.as_ref()), subjects_of(after));
        reindex(&mut self.members, id, &old, &new);
        let moved = before.as_ref().map(|peer| &peer.addresses) != after.map(|peer| &peer.addresses);
        let meant: BTreeSet<Subject> =
            if moved { &old | &new } else { old.symmetric_difference(&new).copied().collect() };
        let resources = meant.iter().filter_map(|subject| self.by_devices.get(subject)).flatten();
        consequences.rules.extend(resources.filter_map(|resource| self.by_resource.get(resource)).flatten());
        before
    }
}

/// Whom a peer is, as rules may speak of it.
fn subjects_of(peer: Option<&Peer>) -> BTreeSet<Subject> {
    let subjects = |peer: &Peer| {
        let groups = peer.groups.iter().map(|group| Subject::Group(*group));
        groups.chain([Subject::Everyone, Subject::User(peer.user), Subject::Device(peer.device)]).collect()
    };
    peer.map(subjects).unwrap_or_default()
}

fn replace<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

fn both<T, L: Ord + Copy>(item: &Option<&T>, list: impl Fn(&T) -> &Vec<L>) -> BTreeSet<L> {
    item.map(|item| list(item).iter().copied().collect()).unwrap_or_default()
}

/// Lists `id` under the new keys and no more under the old ones.
fn reindex<K: Eq + Hash + Ord + Copy, V: Ord + Copy>(
    index: &mut HashMap<K, BTreeSet<V>>,
    id: V,
    old: &BTreeSet<K>,
    new: &BTreeSet<K>,
) {
    for key in old.difference(new) {
        if let Some(listed) = index.get_mut(key) {
            listed.remove(&id);
            if listed.is_empty() {
                index.remove(key);
            }
        }
    }
    for key in new.difference(old) {
        index.entry(*key).or_default().insert(id);
    }
}
