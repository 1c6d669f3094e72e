//! What limits in time mean for the entries that are written at an instant.
//!
//! An entry has one deadline, and must be right until then and safe ever after: who writes entries may be dead. So an
//! entry that allows says by when it ends, and what is to be said afterwards: that a deny begins, or only that what
//! allowed has ended.
//!
//! What is not allowed yet has no entry in its set. So where a rule of a peer's one set begins at the very moment at which
//! one of the other ends, there is nothing between the two but the daemon, which lowers anew then.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use nexa_abi::layout::{ALLOW, ALLOW_LAPSING, DENY};
use nexa_policy::compile::Grant;
use nexa_policy::model::{Effect, Rule};
use nexa_types::{RuleId, When};

/// Most ends of allows that are followed, each up to another that goes on from there.
const MAX_LINKS: usize = 32;

/// The rules with limits in time, as they are at an instant.
pub struct Schedule<'a> {
    at: DateTime<Utc>,
    limited: HashMap<RuleId, Limited<'a>>,
}

#[derive(Clone, Copy)]
struct Limited<'a> {
    when: &'a When,
    active: bool,
    next_change: Option<DateTime<Utc>>,
    /// Equal where the times are.
    number: usize,
}

/// The final word on one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// [`ALLOW`], [`ALLOW_LAPSING`] or [`DENY`].
    pub verdict: u32,
    /// The lowest rule of the deciding effect.
    pub rule: u32,
    /// Until when an allow stands; nothing where that is for ever.
    pub not_after: Option<DateTime<Utc>>,
}

impl<'a> Schedule<'a> {
    /// Looks at rules at an instant.
    pub fn new(rules: impl Iterator<Item = &'a Rule>, at: DateTime<Utc>) -> Self {
        // Many rules have the same few limits.
        let mut seen: HashMap<&When, Limited<'a>> = HashMap::new();
        let limited = rules.filter(|rule| !rule.when.is_always()).map(|rule| {
            let (when, number) = (&rule.when, seen.len());
            let limited = seen.entry(when).or_insert_with(|| Limited {
                when,
                active: when.is_active(at),
                next_change: when.next_change(at),
                number,
            });
            (rule.id, *limited)
        });
        let limited = limited.collect();
        Self { at, limited }
    }

    /// Whether any of the rules has limits.
    pub fn is_limited(&self) -> bool {
        !self.limited.is_empty()
    }

    /// The rules that have some.
    pub fn limited_rules(&self) -> impl Iterator<Item = RuleId> + '_ {
        self.limited.keys().copied()
    }

    /// How many different ones.
    pub fn times(&self) -> usize {
        self.limited.values().map(|limited| limited.number + 1).max().unwrap_or(0)
    }

    /// Which grants are as good as each other but for the number of their rule: the lowest of each kind says all that
    /// [`Self::word`] wants to know.
    pub fn kind(&self, grant: &Grant) -> (Effect, Option<usize>) {
        (grant.effect, self.limited.get(&grant.rule).map(|limited| limited.number))
    }

    /// When what is said here is to be said anew; nothing where never.
    pub fn next_change(&self) -> Option<DateTime<Utc>> {
        self.limited.values().filter_map(|limited| limited.next_change).min()
    }

    /// What grants on one entry come to; nothing where none of them speaks now.
    ///
    /// Until its deadline an allow is what [`nexa_policy::eval`] says, also where the rule that is named ends earlier and
    /// another goes on.
    pub fn word<'g>(&self, grants: impl Iterator<Item = &'g Grant> + Clone) -> Option<Word> {
        let strength = |grant: &&Grant| (grant.effect == Effect::Allow, grant.rule);
        let strongest = grants.clone().filter(|grant| self.is_active(grant.rule)).min_by_key(strength)?;
        let rule = strongest.rule.0;
        if strongest.effect == Effect::Deny {
            return Some(Word { verdict: DENY, rule, not_after: None });
        }
        let refused_from = self.refused_from(grants.clone());
        let allowed_until = self.allowed_until(grants, refused_from);
        let (verdict, not_after) = match (allowed_until, refused_from) {
            (Some(until), Some(from)) if until < from => (ALLOW_LAPSING, Some(until)),
            (_, Some(from)) => (ALLOW, Some(from)),
            (Some(until), None) => (ALLOW_LAPSING, Some(until)),
            (None, None) => (ALLOW, None),
        };
        Some(Word { verdict, rule, not_after })
    }

    /// When the first deny begins; none has yet.
    fn refused_from<'g>(&self, grants: impl Iterator<Item = &'g Grant>) -> Option<DateTime<Utc>> {
        grants
            .filter(|grant| grant.effect == Effect::Deny)
            .filter_map(|grant| self.limited.get(&grant.rule)?.next_change)
            .min()
    }

    /// When nothing allows any more, though one allow may go on from where another ends; not looked for beyond `limit`.
    fn allowed_until<'g>(
        &self,
        grants: impl Iterator<Item = &'g Grant> + Clone,
        limit: Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        let mut until = self.at;
        for _ in 0..MAX_LINKS {
            let mut furthest = until;
            for grant in grants.clone().filter(|grant| grant.effect == Effect::Allow) {
                let limited = self.limited.get(&grant.rule)?;
                if limited.is_active(until, self.at) {
                    furthest = furthest.max(limited.next_change(until, self.at)?);
                }
            }
            if furthest == until || limit.is_some_and(|limit| limit <= furthest) {
                return Some(furthest);
            }
            until = furthest;
        }
        Some(until)
    }

    fn is_active(&self, rule: RuleId) -> bool {
        self.limited.get(&rule).is_none_or(|limited| limited.active)
    }
}

impl Limited<'_> {
    fn is_active(&self, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        if at == now { self.active } else { self.when.is_active(at) }
    }

    fn next_change(&self, after: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if after == now { self.next_change } else { self.when.next_change(after) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use nexa_policy::model::Traffic;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    /// The word at hour 0 on rules that speak from an hour to another, numbered from 1.
    fn word(rules: &[(Effect, Option<i64>, Option<i64>)]) -> Option<(u32, u32, Option<DateTime<Utc>>)> {
        let rule = |(&(effect, from, until), number): (&(Effect, Option<i64>, Option<i64>), u32)| Rule {
            id: RuleId(number),
            effect,
            who: vec![],
            what: vec![],
            when: When::new(from.map(at), until.map(at), vec![]).unwrap(),
        };
        let rules: Vec<Rule> = rules.iter().zip(1..).map(rule).collect();
        let grant =
            |rule: &Rule| Grant { effect: rule.effect, rule: rule.id, traffic: Traffic::ANY, named: false };
        let grants: Vec<Grant> = rules.iter().map(grant).collect();
        let word = Schedule::new(rules.iter(), at(0)).word(grants.iter())?;
        Some((word.verdict, word.rule, word.not_after))
    }

    #[test]
    fn an_allow_stands_until_the_last_that_goes_on_from_it_ends() {
        use Effect::Allow;
        assert_eq!(word(&[(Allow, None, None)]), Some((ALLOW, 1, None)));
        assert_eq!(word(&[(Allow, None, Some(2))]), Some((ALLOW_LAPSING, 1, Some(at(2)))));
        let overlapping = [
            (Allow, Some(1), Some(5)),
            (Allow, None, Some(2)),
            (Allow, Some(5), Some(6)),
            (Allow, Some(7), None),
        ];
        assert_eq!(word(&overlapping), Some((ALLOW_LAPSING, 2, Some(at(6)))));
        assert_eq!(word(&[(Allow, None, Some(2)), (Allow, Some(2), None)]), Some((ALLOW, 1, None)));
    }

    #[test]
    fn an_allow_ends_where_a_deny_begins_and_refuses_from_then_on() {
        use Effect::{Allow, Deny};
        assert_eq!(word(&[(Allow, None, None), (Deny, Some(3), Some(4))]), Some((ALLOW, 1, Some(at(3)))));
        assert_eq!(word(&[(Allow, None, Some(3)), (Deny, Some(3), None)]), Some((ALLOW, 1, Some(at(3)))));
        assert_eq!(
            word(&[(Allow, None, Some(3)), (Deny, Some(4), None)]),
            Some((ALLOW_LAPSING, 1, Some(at(3))))
        );
        let linked =
            [(Allow, None, Some(2)), (Allow, Some(2), None), (Deny, Some(4), None), (Deny, Some(3), None)];
        assert_eq!(word(&linked), Some((ALLOW, 1, Some(at(3)))));
    }

    #[test]
    fn a_deny_denies_on_and_what_does_not_speak_yet_says_nothing() {
        use Effect::{Allow, Deny};
        assert_eq!(word(&[(Allow, None, None), (Deny, None, Some(1))]), Some((DENY, 2, None)));
        assert_eq!(word(&[(Allow, Some(1), None), (Deny, Some(2), None), (Deny, None, Some(0))]), None);
    }
}
