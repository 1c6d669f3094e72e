//! The policy as sets and classes, in which one lookup is decisive.
//!
//! A *class* is what is granted and refused on a destination; a *set* says the class of each prefix. Of a set's
//! prefixes the longest that holds a destination has the last word, since the grants of every prefix around it are
//! pushed into it. Sets and classes are interned: equal ones exist once, however many peers share them.
//!
//! Each peer has two sets. The *shared* one holds what its combination of groups brings, the *own* one what names
//! its user or itself; a single set per peer would repeat each group's rules for every private one.
//!
//! All rules are in here, also those that do not speak yet or any more: no clock is asked. What enforces a set may have to
//! go on alone for long, and then each set must know by itself what will refuse what it admits. So **whatever denies of
//! limited times a peer has are in each of its sets that grants anything**: those of groups are repeated in its own, and
//! a peer that has one of its own has but one set, with everything in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nexa_types::{Cidr, DeviceId, RuleId};

use crate::model::{Effect, IMPLICIT, Model, Peer, Rule, Subject, Traffic};

/// A policy ready to be lowered to whatever enforces it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// One per peer of the model, in its order.
    pub peers: Vec<CompiledPeer>,
    /// Index 0 is the set that grants nothing.
    pub sets: Vec<Set>,
    /// Index 0 is the class that grants nothing.
    pub classes: Vec<Class>,
}

/// A peer's two sets. Both are asked: any deny denies, otherwise any allow admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledPeer {
    /// The device.
    pub device: DeviceId,
    /// Index of the set that its combination of groups shares.
    pub shared: usize,
    /// Index of the set for rules that name the device or its user.
    pub own: usize,
}

/// Prefixes, each with the index of its class.
pub type Set = BTreeMap<Cidr, usize>;

/// Grants, sorted and without repetition.
pub type Class = Vec<Grant>;

/// One rule's word on one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// Whether it admits or refuses.
    pub effect: Effect,
    /// The rule.
    pub rule: RuleId,
    /// What it speaks of.
    pub traffic: Traffic,
    /// Whether it is said of this very destination, and not of a prefix that happens to hold it: then it counts also
    /// where prefixes do not.
    pub named: bool,
}

/// Compiles a model.
pub fn compile(model: &Model) -> Compiled {
    let mut compiler = Compiler::new(model);
    let peers = model.peers.iter().map(|peer| compiler.peer(peer)).collect();
    Compiled { peers, sets: compiler.sets.items, classes: compiler.classes.items }
}

struct Compiler<'a> {
    model: &'a Model,
    /// Rules by what they name, so that a peer does not ask every rule.
    by_subject: HashMap<Subject, Vec<usize>>,
    /// Sets already made, by the rules that they hold.
    shared: HashMap<BTreeSet<usize>, usize>,
    own: HashMap<BTreeSet<usize>, usize>,
    sets: Interner<Set>,
    classes: Interner<Class>,
}

impl<'a> Compiler<'a> {
    fn new(model: &'a Model) -> Self {
        let mut by_subject: HashMap<Subject, Vec<usize>> = HashMap::new();
        for (index, rule) in model.rules.iter().enumerate() {
            for subject in &rule.who {
                by_subject.entry(*subject).or_default().push(index);
            }
        }
        Self {
            model,
            by_subject,
            shared: HashMap::new(),
            own: HashMap::new(),
            sets: Interner::starting_with(Set::new()),
            classes: Interner::starting_with(Class::new()),
        }
    }

    fn peer(&mut self, peer: &Peer) -> CompiledPeer {
        let groups = peer.groups.iter().map(|group| Subject::Group(*group));
        let mut shared_rules = self.rules_of(groups.chain([Subject::Everyone]));
        let mut own_rules: BTreeSet<usize> = self
            .rules_of([Subject::User(peer.user), Subject::Device(peer.device)].into_iter())
            .difference(&shared_rules)
            .copied()
            .collect();
        if own_rules.iter().any(|rule| self.denies_at_times(*rule)) {
            shared_rules.append(&mut own_rules);
        } else if !own_rules.is_empty() {
            own_rules.extend(shared_rules.iter().filter(|rule| self.denies_at_times(**rule)));
        }
        let shared = match self.shared.get(&shared_rules) {
            Some(set) => *set,
            None => {
                let set = self.set(&shared_rules, true);
                self.shared.insert(shared_rules, set);
                set
            }
        };
        let own = match self.own.get(&own_rules) {
            Some(set) => *set,
            None => {
                let set = self.set(&own_rules, false);
                self.own.insert(own_rules, set);
                set
            }
        };
        CompiledPeer { device: peer.device, shared, own }
    }

    fn denies_at_times(&self, rule: usize) -> bool {
        let rule = &self.model.rules[rule];
        rule.effect == Effect::Deny && !rule.when.is_always()
    }

    fn rules_of(&self, subjects: impl Iterator<Item = Subject>) -> BTreeSet<usize> {
        subjects.filter_map(|subject| self.by_subject.get(&subject)).flatten().copied().collect()
    }

    fn set(&mut self, rules: &BTreeSet<usize>, with_implicit: bool) -> usize {
        let said = said(self.model, rules.iter().map(|index| &self.model.rules[*index]), with_implicit);
        let mut set = Set::new();
        // Prefixes around the one at hand, widest first. Sorted order visits a prefix right before what it covers.
        let mut around: Vec<(Cidr, &Word)> = Vec::new();
        for (cidr, word) in &said {
            while around.last().is_some_and(|(outer, _)| !outer.covers(*cidr)) {
                around.pop();
            }
            around.push((*cidr, word));
            set.insert(*cidr, self.class(&around));
        }
        self.sets.index_of(set)
    }

    fn class(&mut self, around: &[(Cidr, &Word)]) -> usize {
        let excluded = around.iter().any(|(_, word)| word.excluded);
        let mut class: Class = around
            .iter()
            .flat_map(|(_, word)| &word.grants)
            .filter(|grant| !excluded || grant.named)
            .copied()
            .collect();
        class.sort_unstable();
        class.dedup();
        self.classes.index_of(class)
    }
}

/// What is said of a prefix itself, without what is said of those around it.
#[derive(Default)]
struct Word {
    grants: Vec<Grant>,
    excluded: bool,
}

fn said<'a>(
    model: &Model,
    rules: impl Iterator<Item = &'a Rule>,
    with_implicit: bool,
) -> BTreeMap<Cidr, Word> {
    let mut said: BTreeMap<Cidr, Word> = BTreeMap::new();
    for rule in rules {
        for resource in rule.what.iter().filter_map(|id| model.resources.get(id)) {
            for cidr in &resource.cidrs {
                let grants = resource.traffic.iter().map(|traffic| Grant {
                    effect: rule.effect,
                    rule: rule.id,
                    traffic: *traffic,
                    named: false,
                });
                said.entry(*cidr).or_default().grants.extend(grants);
            }
            let named = |peer: &&Peer| resource.devices.iter().any(|subject| subject.includes(peer));
            for address in model.peers.iter().filter(named).flat_map(|peer| &peer.addresses) {
                let grants = resource.traffic.iter().map(|traffic| Grant {
                    effect: rule.effect,
                    rule: rule.id,
                    traffic: *traffic,
                    named: true,
                });
                said.entry(Cidr::host(*address)).or_default().grants.extend(grants);
            }
        }
    }
    if with_implicit {
        for implicit in &model.implicit {
            said.entry(implicit.cidr).or_default().grants.push(Grant {
                effect: Effect::Allow,
                rule: IMPLICIT,
                traffic: implicit.traffic,
                named: true,
            });
        }
    }
    // An exclusion matters only where something here overlaps it.
    let spoken: Vec<Cidr> = said.keys().copied().collect();
    for excluded in &model.excluded {
        if spoken.iter().any(|cidr| cidr.overlaps(*excluded)) {
            said.entry(*excluded).or_default().excluded = true;
        }
    }
    said
}

/// Gives equal values one index.
struct Interner<T> {
    items: Vec<T>,
    indexes: HashMap<T, usize>,
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn starting_with(first: T) -> Self {
        Self { items: vec![first.clone()], indexes: HashMap::from([(first, 0)]) }
    }

    fn index_of(&mut self, item: T) -> usize {
        if let Some(index) = self.indexes.get(&item) {
            return *index;
        }
        let index = self.items.len();
        self.items.push(item.clone());
        self.indexes.insert(item, index);
        index
    }
}
