//! The sets in use, by the rules that they hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use nexa_types::{Cidr, RuleId};

use super::intern::Classes;
use super::ledger::{Excess, Ledger};
use super::said::Said;
use super::side_by_side::side_by_side;
use super::{ClassId, Set, SetId};
use crate::model::IMPLICIT;

/// What a set is made of: rules, sorted and without repetition. What holds without a rule is one of them.
pub type Rules = Arc<[RuleId]>;

/// What each rule says.
pub type Words = HashMap<RuleId, Arc<Said>>;

/// Sets, each for as long as somebody has it.
#[derive(Clone, Debug)]
pub struct Sets {
    by_rules: HashMap<Rules, SetId>,
    /// By number; nothing where the number is free. The first is the empty set, which nobody is said to have.
    held: Vec<Option<Held>>,
    free: Vec<SetId>,
    /// Sets that hold a rule's words, by rule.
    by_rule: HashMap<RuleId, BTreeSet<SetId>>,
    /// Sets whose words may not be those of their rules.
    stale: BTreeSet<SetId>,
    /// Rules that say something else than sets hold of them.
    spoilt: BTreeSet<RuleId>,
    /// How many prefixes rules speak of, each rule in each set counted.
    expansion: usize,
    /// How many grants rules say, each rule in each set counted.
    said: usize,
    /// How many prefixes all sets have.
    prefixes: usize,
    /// How many grants all of them have, each with what is said around it.
    grants: usize,
}

#[derive(Clone, Debug)]
struct Held {
    rules: Rules,
    holders: usize,
    /// What is in the set.
    said: BTreeMap<RuleId, Arc<Said>>,
    set: Set,
}

/// A rule's words in a set, as they are and as they are to be.
struct Turn {
    set: SetId,
    rule: RuleId,
    before: Option<Arc<Said>>,
    after: Option<Arc<Said>>,
}

/// What is to be done to the sets, and to how many prefixes that comes.
pub struct Refresh {
    turns: Vec<Turn>,
    /// As [`super::MAX_EXPANSION`] bounds it.
    pub expansion: usize,
    /// As [`super::MAX_GRANTS`] bounds it, before anything is repeated.
    pub said: usize,
}

impl Default for Sets {
    fn default() -> Self {
        Self {
            by_rules: HashMap::new(),
            held: vec![None],
            free: Vec::new(),
            by_rule: HashMap::new(),
            stale: BTreeSet::new(),
            spoilt: BTreeSet::new(),
            expansion: 0,
            said: 0,
            prefixes: 0,
            grants: 0,
        }
    }
}

impl Sets {
    /// The set of some rules, for a holder who had `before`. Without any it is the empty one.
    ///
    /// Where nobody else has what he had, that becomes what he wants, and keeps its number: most of it is the same.
    pub fn exchange(
        &mut self,
        before: SetId,
        rules: Rules,
        classes: &mut Classes,
        touched: &mut BTreeSet<ClassId>,
    ) -> SetId {
        if rules.is_empty() {
            self.release(before, classes, touched);
            return SetId::EMPTY;
        }
        if let Some(id) = self.by_rules.get(&rules).copied() {
            if id != before {
                if let Some(held) = &mut self.held[id.0 as usize] {
                    held.holders += 1;
                }
                self.release(before, classes, touched);
            }
            return id;
        }
        if let Some(held) = self.held[before.0 as usize].as_mut().filter(|held| held.holders == 1) {
            self.by_rules.remove(&held.rules);
            held.rules = Arc::clone(&rules);
            self.by_rules.insert(rules, before);
            self.stale.insert(before);
            return before;
        }
        self.release(before, classes, touched);
        self.add(rules)
    }

    fn add(&mut self, rules: Rules) -> SetId {
        let (said, set) = (BTreeMap::new(), Set::default());
        let held = Some(Held { rules: Arc::clone(&rules), holders: 1, said, set });
        let id = match self.free.pop() {
            Some(id) => {
                self.held[id.0 as usize] = held;
                id
            }
            None => {
                self.held.push(held);
                // Each peer has two, and there are fewer than four thousand million.
                SetId(u32::try_from(self.held.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.by_rules.insert(rules, id);
        self.stale.insert(id);
        id
    }

    fn release(&mut self, id: SetId, classes: &mut Classes, touched: &mut BTreeSet<ClassId>) {
        let slot = &mut self.held[id.0 as usize];
        if let Some(held) = slot.as_mut().filter(|held| held.holders > 1) {
            held.holders -= 1;
        } else if let Some(mut held) = slot.take() {
            self.prefixes -= held.set.len();
            let limit = usize::MAX;
            held.set.clear(&mut Ledger { classes, touched, grants: &mut self.grants, limit });
            for (rule, said) in &held.said {
                forget(&mut self.by_rule, *rule, id);
                self.expansion -= said.prefixes();
                self.said -= said.grants().len();
            }
            self.by_rules.remove(&held.rules);
            self.free.push(id);
            // So that it is told of.
            self.stale.insert(id);
        }
    }

    /// A rule says something else.
    pub fn spoil(&mut self, rule: RuleId) {
        self.spoilt.insert(rule);
        self.stale.extend(self.by_rule.get(&rule).into_iter().flatten());
    }

    /// What is to be done so that every set holds what its rules say. It holds for as long as nothing else changes.
    pub fn plan(&self, words: &Words) -> Refresh {
        let mut refresh = Refresh { turns: Vec::new(), expansion: self.expansion, said: self.said };
        for id in &self.stale {
            let Some(held) = &self.held[id.0 as usize] else { continue };
            let before = held.said.iter().map(|(rule, said)| (*rule, Some(said)));
            side_by_side(before, held.rules.iter().map(|rule| (*rule, ())), |rule, before, after| {
                if before.is_some() && after.is_some() && !self.spoilt.contains(&rule) {
                    return;
                }
                let before = before.flatten().cloned();
                let after = after.and_then(|()| words.get(&rule)).cloned();
                refresh.expansion += after.as_ref().map_or(0, |said| said.prefixes());
                refresh.expansion -= before.as_ref().map_or(0, |said| said.prefixes());
                refresh.said += after.as_ref().map_or(0, |said| said.grants().len());
                refresh.said -= before.as_ref().map_or(0, |said| said.grants().len());
                refresh.turns.push(Turn { set: *id, rule, before, after });
            });
        }
        refresh
    }

    /// Does it; returns the sets that have changed or are gone.
    ///
    /// # Errors
    /// [`Excess`], where all grants together are more than `limit`. It is then to be planned and done again with what undoes
    /// the change, and without a limit.
    pub fn refresh(
        &mut self,
        refresh: Refresh,
        limit: usize,
        excluded: &[Cidr],
        classes: &mut Classes,
        touched: &mut BTreeSet<ClassId>,
    ) -> Result<BTreeSet<SetId>, Excess> {
        let mut outcome = Ok(());
        for turns in refresh.turns.chunk_by(|one, next| one.set == next.set) {
            let Some((id, held)) =
                turns.first().and_then(|turn| Some((turn.set, self.held[turn.set.0 as usize].as_mut()?)))
            else {
                continue;
            };
            self.prefixes -= held.set.len();
            held.change(turns, excluded);
            for Turn { rule, after, .. } in turns {
                match after {
                    Some(_) => drop(self.by_rule.entry(*rule).or_default().insert(id)),
                    None => forget(&mut self.by_rule, *rule, id),
                }
            }
            if outcome.is_ok() {
                outcome = held.set.settle(&mut Ledger { classes, touched, grants: &mut self.grants, limit });
            }
            self.prefixes += held.set.len();
        }
        (self.expansion, self.said) = (refresh.expansion, refresh.said);
        outcome?;
        self.spoilt.clear();
        Ok(std::mem::take(&mut self.stale))
    }

    /// The rule that speaks of most prefixes in all sets together, and of how many.
    pub fn widest(&self, words: &Words) -> Option<(RuleId, usize)> {
        self.most(words, Said::prefixes)
    }

    /// The rule that says most in all sets together, and how much.
    pub fn wordiest(&self, words: &Words) -> Option<(RuleId, usize)> {
        self.most(words, |said| said.grants().len())
    }

    fn most(&self, words: &Words, of: impl Fn(&Said) -> usize) -> Option<(RuleId, usize)> {
        let mut sets: HashMap<RuleId, usize> = HashMap::new();
        for rule in self.held.iter().flatten().flat_map(|held| held.rules.iter()) {
            *sets.entry(*rule).or_default() += 1;
        }
        sets.remove(&IMPLICIT);
        let all = sets.iter().filter_map(|(rule, sets)| Some((*rule, of(words.get(rule)?) * sets)));
        all.max_by_key(|(rule, all)| (*all, Reverse(*rule)))
    }

    /// Prefixes of all sets together.
    pub const fn prefixes(&self) -> usize {
        self.prefixes
    }

    /// A set; none where nobody has it.
    pub fn get(&self, id: SetId) -> Option<&Set> {
        Some(&self.held.get(id.0 as usize)?.as_ref()?.set)
    }

    /// Sets that hold a rule's words.
    pub fn of_rule(&self, rule: RuleId) -> impl Iterator<Item = SetId> + '_ {
        self.by_rule.get(&rule).into_iter().flatten().copied()
    }

    /// Sets in use.
    pub fn ids(&self) -> impl Iterator<Item = SetId> + '_ {
        self.by_rules.values().copied()
    }
}

impl Held {
    /// Says what rules say now, and no more what they said before.
    fn change(&mut self, turns: &[Turn], excluded: &[Cidr]) {
        if self.said.is_empty() && self.set.is_empty() {
            let after = || turns.iter().filter_map(|turn| Some((turn.rule, turn.after.as_ref()?)));
            self.set.fill(after().flat_map(|(_, said)| said.grants()).copied().collect(), excluded);
            self.said = after().map(|(rule, said)| (rule, Arc::clone(said))).collect();
            return;
        }
        for Turn { rule, before, after, .. } in turns {
            match after {
                Some(after) => drop(self.said.insert(*rule, Arc::clone(after))),
                None => drop(self.said.remove(rule)),
            }
            let [before, after] = [before, after]
                .map(|said| said.iter().flat_map(|said| said.grants()).map(|grant| (grant, ())));
            side_by_side(before, after, |grant, before, after| match (before, after) {
                (Some(()), None) => self.set.unsay(grant, excluded),
                (None, Some(())) => self.set.say(grant, excluded),
                _ => {}
            });
        }
    }
}

fn forget(by_rule: &mut HashMap<RuleId, BTreeSet<SetId>>, rule: RuleId, set: SetId) {
    if let Some(sets) = by_rule.get_mut(&rule) {
        sets.remove(&set);
        if sets.is_empty() {
            by_rule.remove(&rule);
        }
    }
}
