//! A policy that is kept compiled while the model changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use nexa_types::{Cidr, DeviceId, GroupId, ResourceId, RuleId};

use super::intern::Classes;
use super::ledger::{Excess, MAX_GRANTS};
use super::said::Said;
use super::sets::{Refresh, Rules, Sets, Words};
use super::tables::{Consequences, Tables};
use super::{Change, Class, ClassId, CompiledPeer, Set, SetId, Touched};
use crate::model::{IMPLICIT, Implicit, Peer, Resource, Rule, Subject};

/// Most prefixes that rules may speak of in all sets together, each rule in each set counted: a bound on what one policy
/// costs in memory and time, before any of it is spent.
pub const MAX_EXPANSION: usize = 1 << 21;

/// The rules come to more than is compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Expansion {
    /// They speak of more prefixes than [`MAX_EXPANSION`].
    #[error(
        "rules come to {needed} prefixes over all combinations of groups, more than the {MAX_EXPANSION} that are compiled; \
         rule {rule} alone comes to {by_rule}: let it name fewer prefixes or devices, or fewer groups"
    )]
    Prefixes {
        /// To how many.
        needed: usize,
        /// The rule that speaks of most.
        rule: RuleId,
        /// Of how many.
        by_rule: usize,
    },
    /// They say more of them than [`MAX_GRANTS`].
    #[error(
        "with what wide prefixes grant repeated on each prefix inside, rules come to more than the {MAX_GRANTS} grants that \
         are compiled; rule {rule} alone has {by_rule} in one place: let it name fewer protocols and ports, or narrower \
         prefixes"
    )]
    Grants {
        /// The rule that says most, in all sets together or where it became too much.
        rule: RuleId,
        /// How much.
        by_rule: usize,
    },
}

/// A model, compiled.
#[derive(Clone, Debug)]
pub struct Compiler {
    excluded: Vec<Cidr>,
    tables: Tables,
    /// What each rule says, and [`IMPLICIT`] what holds without one.
    words: Words,
    combinations: HashMap<BTreeSet<GroupId>, Combination>,
    peers: HashMap<DeviceId, Holder>,
    /// Peers with but one set, which is nobody's combination's.
    apart: BTreeSet<DeviceId>,
    sets: Sets,
    classes: Classes,
    touched: Touched,
}

/// Peers that are in the same groups.
#[derive(Clone, Debug, Default)]
struct Combination {
    peers: BTreeSet<DeviceId>,
    rules: Rules,
    timed_denies: Vec<RuleId>,
    set: SetId,
}

/// What a peer has beside its combination.
#[derive(Clone, Debug, Default)]
struct Holder {
    groups: BTreeSet<GroupId>,
    /// In place of its combination's set; the empty one where there is none.
    apart: SetId,
    own: SetId,
}

impl Compiler {
    /// A model of nobody. What is implicit, and what no prefix covers, stays.
    pub fn new(implicit: &[Implicit], excluded: Vec<Cidr>) -> Self {
        Self {
            excluded,
            tables: Tables::default(),
            words: HashMap::from([(IMPLICIT, Arc::new(Said::without_rule(implicit)))]),
            combinations: HashMap::new(),
            peers: HashMap::new(),
            apart: BTreeSet::new(),
            sets: Sets::default(),
            classes: Classes::default(),
            touched: Touched::default(),
        }
    }

    /// Makes a change; returns the one that undoes it.
    ///
    /// # Errors
    /// [`Expansion`]; everything is then as before, but for numbers, which [`Self::take_touched`] tells of.
    pub fn apply(&mut self, change: Change) -> Result<Change, Expansion> {
        let (inverse, retimed) = self.note(change);
        if let Err(error) = self.check().and_then(|refresh| self.refresh(refresh, MAX_GRANTS)) {
            self.undo(inverse);
            return Err(error);
        }
        retimed.into_iter().for_each(|rule| self.retime(rule));
        Ok(inverse)
    }

    /// Undoes the last change, with what [`Self::apply`] returned for it.
    pub fn undo(&mut self, inverse: Change) {
        let (_, retimed) = self.note(inverse);
        // On the way back there may be more than ever was, before what is to go is gone.
        let refresh = self.sets.plan(&self.words);
        self.refresh(refresh, usize::MAX).expect("there is no limit to exceed");
        retimed.into_iter().for_each(|rule| self.retime(rule));
    }

    /// Notes a change, and what rules each peer's sets are to be made of; returns the change that undoes it, and rules that
    /// speak at other times.
    fn note(&mut self, change: Change) -> (Change, BTreeSet<RuleId>) {
        let peers: BTreeSet<DeviceId> = change.peers.keys().copied().collect();
        let Consequences { inverse, subjects, rules, retimed } = self.tables.change(change);
        self.say(&rules);
        let combinations = self.regroup(&peers);
        let mut others = self.recombine(&subjects, combinations);
        others.extend(
            subjects
                .iter()
                .filter_map(|subject| match subject {
                    Subject::User(_) | Subject::Device(_) => self.tables.members.get(subject),
                    Subject::Everyone | Subject::Group(_) => None,
                })
                .flatten(),
        );
        self.touched.peers.extend(&peers);
        others.extend(peers);
        for device in others {
            self.reassign(device);
        }
        (inverse, retimed)
    }

    /// What is to be done to the sets, if it is not known to be too much.
    fn check(&self) -> Result<Refresh, Expansion> {
        let refresh = self.sets.plan(&self.words);
        let needed = refresh.expansion;
        if needed > MAX_EXPANSION
            && let Some((rule, by_rule)) = self.sets.widest(&self.words)
        {
            return Err(Expansion::Prefixes { needed, rule, by_rule });
        }
        if refresh.said > MAX_GRANTS
            && let Some((rule, by_rule)) = self.sets.wordiest(&self.words)
        {
            return Err(Expansion::Grants { rule, by_rule });
        }
        Ok(refresh)
    }

    fn refresh(&mut self, refresh: Refresh, most_grants: usize) -> Result<(), Expansion> {
        let touched = &mut self.touched.classes;
        let sets = self.sets.refresh(refresh, most_grants, &self.excluded, &mut self.classes, touched);
        let sets = sets.map_err(|Excess { rule, by_rule }| Expansion::Grants { rule, by_rule })?;
        self.touched.sets.extend(sets);
        Ok(())
    }

    /// What is to be looked at again since this was last asked.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// A peer's sets; none of a peer that the model does not hold.
    pub fn peer(&self, device: DeviceId) -> Option<CompiledPeer> {
        let Holder { groups, apart, own } = self.peers.get(&device)?;
        let shared = if *apart == SetId::EMPTY { self.combinations.get(groups)?.set } else { *apart };
        Some(CompiledPeer { shared, own: *own })
    }

    /// A set; none where nobody has it, as with the empty one.
    pub fn set(&self, id: SetId) -> Option<&Set> {
        self.sets.get(id)
    }

    /// A class; the empty one where nothing has it.
    pub fn class(&self, id: ClassId) -> &Class {
        self.classes.get(id)
    }

    /// What no prefix of a resource covers.
    pub fn excluded(&self) -> &[Cidr] {
        &self.excluded
    }

    /// The rules as they are.
    pub const fn rules(&self) -> &HashMap<RuleId, Rule> {
        &self.tables.rules
    }

    /// The resources as they are.
    pub const fn resources(&self) -> &HashMap<ResourceId, Resource> {
        &self.tables.resources
    }

    /// The peers as they are.
    pub const fn peers(&self) -> &HashMap<DeviceId, Peer> {
        &self.tables.peers
    }

    /// Sets in use, without the empty one.
    pub fn sets(&self) -> impl Iterator<Item = SetId> + '_ {
        self.sets.ids()
    }

    /// Classes in use, without the empty one.
    pub fn classes(&self) -> impl Iterator<Item = ClassId> + '_ {
        self.classes.ids()
    }

    /// Prefixes of all sets together.
    pub const fn prefixes(&self) -> usize {
        self.sets.prefixes()
    }

    /// The rule that speaks of most prefixes in all sets together, and of how many; none where there is no rule.
    pub fn widest_rule(&self) -> Option<(RuleId, usize)> {
        self.sets.widest(&self.words)
    }

    /// Rules that name a resource.
    pub fn rules_naming(&self, resource: ResourceId) -> impl Iterator<Item = RuleId> + '_ {
        self.tables.by_resource.get(&resource).into_iter().flatten().copied()
    }

    fn say(&mut self, rules: &BTreeSet<RuleId>) {
        for id in rules {
            let said = self.tables.rules.get(id).map(|rule| Arc::new(Said::by_rule(rule, &self.tables)));
            let was_there = match said {
                Some(said) if self.words.get(id) == Some(&said) => continue,
                Some(said) => self.words.insert(*id, said).is_some(),
                None => self.words.remove(id).is_some(),
            };
            if was_there != self.words.contains_key(id) {
                self.touched.rules.insert(*id);
            }
            self.sets.spoil(*id);
        }
    }

    /// Puts peers into their combinations; returns those that are new.
    fn regroup(&mut self, peers: &BTreeSet<DeviceId>) -> BTreeSet<BTreeSet<GroupId>> {
        let mut new = BTreeSet::new();
        for device in peers {
            let before = self.peers.get(device).map(|holder| holder.groups.clone());
            let after = self.tables.peers.get(device).map(|peer| peer.groups.clone());
            if before == after {
                continue;
            }
            if let Some(before) = before
                && let Some(combination) = self.combinations.get_mut(&before)
            {
                combination.peers.remove(device);
                if combination.peers.is_empty() {
                    let set = combination.set;
                    self.combinations.remove(&before);
                    new.remove(&before);
                    self.exchange(set, Rules::default());
                }
            }
            if let Some(after) = after {
                let combination = self.combinations.entry(after.clone()).or_default();
                if combination.peers.is_empty() {
                    new.insert(after.clone());
                }
                combination.peers.insert(*device);
                self.peers.entry(*device).or_default().groups = after;
            }
        }
        new
    }

    /// Gives combinations of whose groups other rules speak their sets, and the new ones; returns the peers for whom more
    /// than that follows.
    fn recombine(
        &mut self,
        subjects: &BTreeSet<Subject>,
        mut combinations: BTreeSet<BTreeSet<GroupId>>,
    ) -> BTreeSet<DeviceId> {
        let everyone = subjects.contains(&Subject::Everyone);
        let concerns = |groups: &BTreeSet<GroupId>| {
            everyone || groups.iter().any(|group| subjects.contains(&Subject::Group(*group)))
        };
        combinations.extend(self.combinations.keys().filter(|groups| concerns(groups)).cloned());

        let mut others = BTreeSet::new();
        for groups in combinations {
            let Some(mut combination) = self.combinations.remove(&groups) else { continue };
            let subjects = groups.iter().map(|group| Subject::Group(*group)).chain([Subject::Everyone]);
            let rules: Rules = [IMPLICIT].into_iter().chain(self.tables.rules_of(subjects)).collect();
            let timed_denies: Vec<RuleId> = self.timed_denies(&rules).collect();
            if timed_denies != combination.timed_denies {
                others.extend(&combination.peers);
            }
            others.extend(self.apart.intersection(&combination.peers));
            let before = combination.set;
            combination.set = self.exchange(before, Arc::clone(&rules));
            if combination.set != before {
                self.touched.peers.extend(&combination.peers);
            }
            combination.rules = rules;
            combination.timed_denies = timed_denies;
            self.combinations.insert(groups, combination);
        }
        others
    }

    /// Gives a peer what it has beside its combination.
    fn reassign(&mut self, device: DeviceId) {
        let Some(mut holder) = self.peers.remove(&device) else { return };
        let (apart, own) = match self.tables.peers.get(&device) {
            Some(peer) => self.rules_of(&holder.groups, [Subject::User(peer.user), Subject::Device(device)]),
            None => (Rules::default(), Rules::default()),
        };
        if !apart.is_empty() {
            self.apart.insert(device);
        } else {
            self.apart.remove(&device);
        }
        let before = (holder.apart, holder.own);
        holder.apart = self.exchange(holder.apart, apart);
        holder.own = self.exchange(holder.own, own);
        if before != (holder.apart, holder.own) {
            self.touched.peers.insert(device);
        }
        if self.tables.peers.contains_key(&device) {
            self.peers.insert(device, holder);
        }
    }

    /// The rules of the set in place of the combination's, and of the own set.
    fn rules_of(&self, groups: &BTreeSet<GroupId>, subjects: [Subject; 2]) -> (Rules, Rules) {
        let own = self.tables.rules_of(subjects.into_iter());
        let Some(combination) = self.combinations.get(groups).filter(|_| !own.is_empty()) else {
            return (Rules::default(), Rules::default());
        };
        let with = |others: &[RuleId]| -> Rules {
            let rules: BTreeSet<RuleId> = own.iter().chain(others).copied().collect();
            rules.into_iter().collect()
        };
        if self.timed_denies(&own).next().is_some() {
            (with(&combination.rules), Rules::default())
        } else {
            (Rules::default(), with(&combination.timed_denies))
        }
    }

    fn timed_denies<'a>(&'a self, rules: &'a [RuleId]) -> impl Iterator<Item = RuleId> + 'a {
        self.tables.timed_denies.iter().filter(|rule| rules.binary_search(rule).is_ok()).copied()
    }

    fn exchange(&mut self, before: SetId, rules: Rules) -> SetId {
        self.sets.exchange(before, rules, &mut self.classes, &mut self.touched.classes)
    }

    /// A rule says the same at other times: so do the classes that it has a part in.
    fn retime(&mut self, id: RuleId) {
        let Some(said) = self.words.get(&id) else { return };
        for set in self.sets.of_rule(id).filter_map(|set| self.sets.get(set)) {
            for class in said.grants().iter().flat_map(|(cidr, _)| set.inside(*cidr)) {
                if self.classes.get(class).iter().any(|grant| grant.rule == id) {
                    self.touched.retimed.insert(class);
                }
            }
        }
    }
}
