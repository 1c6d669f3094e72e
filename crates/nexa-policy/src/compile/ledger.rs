//! What classes come to, counted while they are given.
//!
//! A prefix has a part in all that is said around it. So a policy of a thousand words on a wide prefix and a hundred
//! thousand narrow ones inside comes to a hundred million, which nobody sees by counting what it says.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use nexa_types::RuleId;

use super::intern::Classes;
use super::{ClassId, Grant};
use crate::model::IMPLICIT;

/// Most grants of all prefixes in all sets together, each with what is said around it: a bound on what one policy costs
/// in memory and time.
pub const MAX_GRANTS: usize = 1 << 24;

/// More than [`MAX_GRANTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// The rule that says most where it became too much.
    pub rule: RuleId,
    /// How much that is.
    pub by_rule: usize,
}

/// Gives and takes classes.
pub struct Ledger<'a> {
    pub classes: &'a mut Classes,
    /// Numbers of classes that are new or gone.
    pub touched: &'a mut BTreeSet<ClassId>,
    /// Grants of all prefixes in all sets together.
    pub grants: &'a mut usize,
    /// Most of them.
    pub limit: usize,
}

impl Ledger<'_> {
    /// Has a prefix have the class of these grants.
    ///
    /// # Errors
    /// [`Excess`]; it has it all the same.
    pub fn assign(&mut self, class: &mut ClassId, grants: &[Grant]) -> Result<(), Excess> {
        let before = std::mem::replace(class, self.classes.acquire(grants, self.touched));
        *self.grants += grants.len();
        *self.grants -= self.classes.get(before).len();
        self.classes.release(before, self.touched);
        if *self.grants <= self.limit || grants.is_empty() {
            return Ok(());
        }
        let mut rules: Vec<RuleId> = grants.iter().map(|grant| grant.rule).collect();
        rules.sort_unstable();
        let by_rule =
            rules.chunk_by(|one, next| one == next).map(|of_rule| (of_rule.len(), Reverse(of_rule[0])));
        let (by_rule, Reverse(rule)) = by_rule.max().unwrap_or((0, Reverse(IMPLICIT)));
        Err(Excess { rule, by_rule })
    }
}
