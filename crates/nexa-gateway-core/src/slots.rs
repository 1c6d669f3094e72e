//! Where each rule is counted.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use nexa_abi::layout::{DEFAULT_DENY_SLOT, IMPLICIT_SLOT, RULE_SLOTS};
use nexa_types::RuleId;

/// The first slot that a rule may have.
const FIRST: u32 = IMPLICIT_SLOT + 1;

/// Slots of rules. A rule has its slot as long as it is in the policy.
#[derive(Clone, Debug)]
pub struct Slots {
    by_rule: BTreeMap<u32, u32>,
    /// Slots that nobody has, longest free first.
    free: VecDeque<u32>,
    never_used: u32,
    /// The first position that the map does not have.
    end: u32,
}

impl Default for Slots {
    fn default() -> Self {
        Self { by_rule: BTreeMap::new(), free: VecDeque::new(), never_used: FIRST, end: RULE_SLOTS }
    }
}

impl Slots {
    /// Leaves rules the slots under which they are found in the maps, which have `end` of them: their counters go on
    /// while the daemon changes.
    pub fn found(rules: &BTreeSet<(u32, u32)>, end: u32) -> Self {
        let mut slots = Self { end, ..Self::default() };
        let mut taken = HashSet::new();
        for &(rule, slot) in rules.iter().filter(|(rule, slot)| *rule != 0 && (FIRST..end).contains(slot)) {
            slots.never_used = slots.never_used.max(slot + 1);
            if !slots.by_rule.contains_key(&rule) && taken.insert(slot) {
                slots.by_rule.insert(rule, slot);
            }
        }
        slots.free = (FIRST..slots.never_used).filter(|slot| !taken.contains(slot)).collect();
        slots
    }

    /// Gives rules that are there a slot, and takes those of rules that are gone; returns the slots that are new to their
    /// rules.
    pub fn change(&mut self, there: &[RuleId], gone: &[RuleId]) -> Vec<u32> {
        let mut given = Vec::new();
        for RuleId(rule) in there {
            if !self.by_rule.contains_key(rule)
                && let Some(slot) = self.next()
            {
                self.by_rule.insert(*rule, slot);
                given.push(slot);
            }
        }
        // Only now, so that none is given in the swap that takes it: programs may still count there.
        self.free.extend(gone.iter().filter_map(|RuleId(rule)| self.by_rule.remove(rule)));
        given
    }

    /// A slot that nobody has; lowering rules out that there is none.
    fn next(&mut self) -> Option<u32> {
        if self.never_used < self.end {
            self.never_used += 1;
            return Some(self.never_used - 1);
        }
        self.free.pop_front()
    }

    /// Where a rule is counted; 0 is what is granted without one.
    pub fn of(&self, rule: u32) -> u32 {
        match rule {
            0 => IMPLICIT_SLOT,
            rule => self.by_rule.get(&rule).copied().unwrap_or(DEFAULT_DENY_SLOT),
        }
    }

    /// Rules with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.by_rule.iter().map(|(rule, slot)| (*rule, *slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexa_abi::layout::MAX_RULES;

    #[test]
    fn the_largest_policies_may_follow_each_other_and_no_slot_is_given_in_the_swap_that_takes_it() {
        let mut slots = Slots::default();
        let mut before: HashSet<u32> = HashSet::new();
        let mut gone = Vec::new();
        for policy in 0..6 {
            let first = 1 + policy * MAX_RULES;
            let rules: Vec<RuleId> = (first..first + MAX_RULES).map(RuleId).collect();
            let given: HashSet<u32> = slots.change(&rules, &gone).into_iter().collect();
            assert_eq!(given.len(), rules.len(), "one each");
            assert!(given.is_disjoint(&before) && !given.contains(&DEFAULT_DENY_SLOT));
            assert!(rules.iter().all(|rule| given.contains(&slots.of(rule.0))));
            (before, gone) = (given, rules);
        }
    }

    #[test]
    fn a_rule_keeps_its_slot_over_swaps_and_restarts() {
        let mut slots = Slots::default();
        assert_eq!(slots.change(&[RuleId(7), RuleId(9)], &[]).len(), 2);
        let nine = slots.of(9);
        assert_eq!(slots.change(&[RuleId(9), RuleId(11)], &[RuleId(7)]).len(), 1);
        assert_eq!(slots.of(9), nine);
        // As found in maps, with an entry of a version without slots, one of nobody, and one that repeats a slot.
        let mut found: BTreeSet<(u32, u32)> = slots.iter().collect();
        found.extend([(0, IMPLICIT_SLOT), (12, 0), (13, nine), (14, u32::MAX)]);
        let mut slots = Slots::found(&found, RULE_SLOTS);
        let rules = [9, 12, 13].map(RuleId);
        assert_eq!(slots.change(&rules, &[RuleId(11)]).len(), 2);
        assert_eq!(slots.of(9), nine);
        assert!(slots.change(&rules, &[]).is_empty());
    }
}
