//! What goes into a compiler, and what comes out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use nexa_types::{DeviceId, ResourceId, RuleId};

use super::{ClassId, Compiler, SetId};
use crate::model::{Peer, Resource, Rule};

/// What is different in a model: what is new or has changed with its new value, what is gone with none.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Rules. The key is [`Rule::id`].
    pub rules: BTreeMap<RuleId, Option<Rule>>,
    /// Resources.
    pub resources: BTreeMap<ResourceId, Option<Resource>>,
    /// Peers. The key is [`Peer::device`].
    pub peers: BTreeMap<DeviceId, Option<Peer>>,
}

impl Change {
    /// Everything is new.
    pub fn from_nothing(
        peers: impl IntoIterator<Item = Peer>,
        resources: impl IntoIterator<Item = (ResourceId, Resource)>,
        rules: impl IntoIterator<Item = Rule>,
    ) -> Self {
        Self {
            rules: rules.into_iter().map(|rule| (rule.id, Some(rule))).collect(),
            resources: resources.into_iter().map(|(id, resource)| (id, Some(resource))).collect(),
            peers: peers.into_iter().map(|peer| (peer.device, Some(peer))).collect(),
        }
    }

    /// How many peers there are after it.
    pub fn count_peers(&self, before: &Compiler) -> usize {
        count(&self.peers, before.peers())
    }

    /// How many rules there are after it.
    pub fn count_rules(&self, before: &Compiler) -> usize {
        count(&self.rules, before.rules())
    }
}

fn count<K: Ord + Eq + Hash, V>(change: &BTreeMap<K, Option<V>>, before: &HashMap<K, V>) -> usize {
    let known = change.keys().filter(|id| before.contains_key(id)).count();
    before.len() - known + change.values().flatten().count()
}

/// What is to be looked at again: what is new, changed or gone. A number may be that of something else by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Sets with other prefixes or classes.
    pub sets: BTreeSet<SetId>,
    /// Classes with other grants.
    pub classes: BTreeSet<ClassId>,
    /// Classes of a rule that speaks at other times. Sets that have them may not be touched.
    pub retimed: BTreeSet<ClassId>,
    /// Peers that are new, changed or gone, or have other sets.
    pub peers: BTreeSet<DeviceId>,
    /// Rules that are new or gone.
    pub rules: BTreeSet<RuleId>,
}

impl Touched {
    /// Together with what else is to be looked at.
    pub fn extend(&mut self, other: Self) {
        let Self { sets, classes, retimed, peers, rules } = other;
        self.sets.extend(sets);
        self.classes.extend(classes);
        self.retimed.extend(retimed);
        self.peers.extend(peers);
        self.rules.extend(rules);
    }
}
