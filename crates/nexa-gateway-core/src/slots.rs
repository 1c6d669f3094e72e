//! Where each rule is counted.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use nexa_abi::layout::{DEFAULT_DENY_SLOT, IMPLICIT_SLOT, RULE_SLOTS};

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

    /// Gives every rule a slot and takes those of others; returns the slots that are new to their rules.
    pub fn replace(&mut self, rules: &[u32]) -> Vec<u32> {
        let staying: HashSet<u32> = rules.iter().copied().collect();
        let gone: Vec<u32> = self.by_rule.keys().filter(|rule| !staying.contains(rule)).copied().collect();
        let mut given = Vec::new();
        for &rule in rules {
            if !self.by_rule.contains_key(&rule)
                && let Some(slot) = self.next()
            {
                self.by_rule.insert(rule, slot);
                given.push(slot);
            }
        }
        // Only now, so that none is given in the swap that takes it: programs may still count there.
        self.free.extend(gone.iter().filter_map(|rule| self.by_rule.remove(rule)));
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
        for policy in 0..6 {
            let first = 1 + policy * MAX_RULES;
            let rules: Vec<u32> = (first..first + MAX_RULES).collect();
            let given: HashSet<u32> = slots.replace(&rules).into_iter().collect();
            assert_eq!(given.len(), rules.len(), "one each");
            assert!(given.is_disjoint(&before) && !given.contains(&DEFAULT_DENY_SLOT));
            assert!(rules.iter().all(|rule| given.contains(&slots.of(*rule))));
            before = given;
        }
    }

    #[test]
    fn a_rule_keeps_its_slot_over_swaps_and_restarts() {
        let mut slots = Slots::default();
        assert_eq!(slots.replace(&[7, 9]).len(), 2);
        let nine = slots.of(9);
        assert_eq!(slots.replace(&[9, 11]).len(), 1);
        assert_eq!(slots.of(9), nine);
        // As found in maps, with an entry of a version without slots, one of nobody, and one that repeats a slot.
        let mut found: BTreeSet<(u32, u32)> = slots.iter().collect();
        found.extend([(0, IMPLICIT_SLOT), (12, 0), (13, nine), (14, u32::MAX)]);
        let mut slots = Slots::found(&found, RULE_SLOTS);
        assert_eq!(slots.replace(&[9, 12, 13]).len(), 2);
        assert_eq!(slots.of(9), nine);
        assert!(slots.replace(&[9, 12, 13]).is_empty());
    }
}
