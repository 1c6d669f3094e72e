//! Classes as entries, from one instant to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nexa_policy::Compiler;
use nexa_policy::compile::ClassId;
use nexa_policy::model::IMPLICIT;
use nexa_types::RuleId;

use super::LowerError;
use super::ports::{self, PortsEntry};
use crate::schedule::Schedule;

/// Most words that are asked for while classes are lowered, each with the times of all that could end it: a bound on what one
/// policy costs in time. As many as there are entries at most, a few times.
pub const MAX_WORDS: usize = 1 << 24;

/// What has been lowered.
#[derive(Debug, Default)]
pub struct Classes {
    /// By number.
    lowered: Vec<Lowered>,
    /// Entries of all together.
    entries: usize,
    /// Classes of rules with limits in time.
    timed: BTreeSet<ClassId>,
    /// Of these, when to lower which anew.
    due: BTreeSet<(DateTime<Utc>, ClassId)>,
    at: DateTime<Utc>,
}

#[derive(Clone, Debug, Default)]
struct Lowered {
    entries: Arc<[PortsEntry]>,
    next_change: Option<DateTime<Utc>>,
}

/// What lowering may come to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries of all classes, those too that are about to go.
    pub entries: usize,
    /// As [`MAX_WORDS`].
    pub words: usize,
}

impl Limits {
    /// None.
    pub const NONE: Self = Self { entries: usize::MAX, words: usize::MAX };
}

impl Classes {
    /// Those whose rules began or ended to speak between the last instant and another.
    pub fn due(&self, at: DateTime<Utc>) -> BTreeSet<ClassId> {
        if at < self.at {
            // The wall clock was set back: what has begun or ended since has not.
            return self.timed.clone();
        }
        self.due.iter().take_while(|(due, _)| *due <= at).map(|(_, class)| *class).collect()
    }

    /// Lowers some as they are at an instant.
    ///
    /// # Errors
    /// [`LowerError`]; only some of them are lowered then.
    pub fn lower(
        &mut self,
        compiler: &Compiler,
        ids: impl Iterator<Item = ClassId>,
        at: DateTime<Utc>,
        limits: Limits,
    ) -> Result<(), LowerError> {
        self.at = at;
        let mut words = limits.words;
        for id in ids {
            self.lower_one(compiler, id, &mut words)?;
            if self.entries > limits.entries {
                return Err(self.too_many());
            }
        }
        Ok(())
    }

    fn lower_one(&mut self, compiler: &Compiler, id: ClassId, words: &mut usize) -> Result<(), LowerError> {
        let class = compiler.class(id);
        let rules = class.iter().filter_map(|grant| compiler.rules().get(&grant.rule));
        let schedule = Schedule::new(rules, self.at);
        let entries = ports::entries(class, &schedule, words).ok_or_else(|| LowerError::Times {
            rule: schedule.limited_rules().min().unwrap_or(IMPLICIT),
            times: schedule.times(),
        })?;
        let next_change = schedule.next_change();
        if schedule.is_limited() {
            self.timed.insert(id);
        } else {
            self.timed.remove(&id);
        }
        let position = id.0 as usize;
        if position >= self.lowered.len() {
            self.lowered.resize_with(position + 1, Lowered::default);
        }
        let lowered = Lowered { entries: entries.into(), next_change };
        self.entries += lowered.entries.len();
        let before = std::mem::replace(&mut self.lowered[position], lowered);
        self.entries -= before.entries.len();
        if let Some(before) = before.next_change {
            self.due.remove(&(before, id));
        }
        if let Some(next) = next_change {
            self.due.insert((next, id));
        }
        Ok(())
    }

    /// Entries of all together.
    pub const fn entries(&self) -> usize {
        self.entries
    }

    /// That there are more entries than the map holds, with the rule that takes most.
    pub fn too_many(&self) -> LowerError {
        let mut rules: Vec<u32> =
            self.lowered.iter().flat_map(|class| class.entries.iter()).map(|entry| entry.rule).collect();
        rules.sort_unstable();
        let most = rules.chunk_by(|one, next| one == next).max_by_key(|entries| entries.len());
        let (rule, by_rule) = most.map_or((0, 0), |entries| (entries[0], entries.len()));
        LowerError::Entries { map: "port", needed: self.entries, rule: RuleId(rule), by_rule }
    }

    /// When any is due.
    pub fn next_change(&self) -> Option<DateTime<Utc>> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A class as entries; none where nothing is granted.
    pub fn get(&self, id: ClassId) -> Arc<[PortsEntry]> {
        self.lowered.get(id.0 as usize).map(|class| Arc::clone(&class.entries)).unwrap_or_default()
    }
}
