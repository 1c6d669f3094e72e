//! When a rule speaks.

use chrono::{DateTime, Datelike as _, TimeZone as _, Utc};
use serde::{Deserialize, Serialize};

mod window;

pub use window::{TimeOfDay, TimeOfDayError, Window, WindowError, Zone, ZoneError};

/// Most weekly windows of one rule.
pub const MAX_WINDOWS: usize = 50;

/// When a rule speaks: from an instant, until another, and within weekly windows. What is left out is no limit, so the
/// default is always.
///
/// A rule speaks at `valid_from` and no longer at `valid_until`. Of several windows any one is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "WhenText", into = "WhenText")]
pub struct When {
    valid_from: Option<DateTime<Utc>>,
    valid_until: Option<DateTime<Utc>>,
    weekly: Vec<Window>,
}

/// Why limits are no [`When`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// It would never speak.
    #[error("valid_from {from} is not before valid_until {until}; a rule needs a time in which it speaks")]
    NeverValid {
        /// The first instant.
        from: DateTime<Utc>,
        /// The instant after the last.
        until: DateTime<Utc>,
    },
    /// Each change of a window is work for every gateway.
    #[error(
        "{0} windows are more than the {MAX_WINDOWS} that a rule may have; merge some, or write several rules"
    )]
    TooManyWindows(usize),
}

impl When {
    /// Without any limit.
    pub const ALWAYS: Self = Self { valid_from: None, valid_until: None, weekly: Vec::new() };

    /// Takes the limits; no windows means that every hour of the week is as good as another.
    ///
    /// # Errors
    /// [`WhenError`].
    pub fn new(
        valid_from: Option<DateTime<Utc>>,
        valid_until: Option<DateTime<Utc>>,
        weekly: Vec<Window>,
    ) -> Result<Self, WhenError> {
        if let (Some(from), Some(until)) = (valid_from, valid_until)
            && from >= until
        {
            return Err(WhenError::NeverValid { from, until });
        }
        if weekly.len() > MAX_WINDOWS {
            return Err(WhenError::TooManyWindows(weekly.len()));
        }
        Ok(Self { valid_from, valid_until, weekly })
    }

    /// The first instant, if there is one.
    pub const fn valid_from(&self) -> Option<DateTime<Utc>> {
        self.valid_from
    }

    /// The instant after the last, if there is one.
    pub const fn valid_until(&self) -> Option<DateTime<Utc>> {
        self.valid_until
    }

    /// The windows; none is no limit.
    pub fn weekly(&self) -> &[Window] {
        &self.weekly
    }

    /// Whether nothing is limited.
    pub const fn is_always(&self) -> bool {
        self.valid_from.is_none() && self.valid_until.is_none() && self.weekly.is_empty()
    }

    /// Whether a rule with these limits speaks at an instant.
    pub fn is_active(&self, at: DateTime<Utc>) -> bool {
        self.valid_from.is_none_or(|from| from <= at)
            && self.valid_until.is_none_or(|until| at < until)
            && (self.weekly.is_empty() || self.weekly.iter().any(|window| window.is_open(at)))
    }

    /// Until when [`Self::is_active`] stays as it is at `after`: a later instant, or nothing where that is for ever.
    ///
    /// It looks ahead to the end of the year after. Where nothing changes until then, as where windows of several zones
    /// fill the week, it gives that end, at which to ask again.
    pub fn next_change(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.valid_until.is_some_and(|until| until <= after) {
            return None;
        }
        match self.valid_from.filter(|from| after < *from) {
            // Before the first instant windows mean nothing.
            Some(from) if self.is_active(from) => Some(from),
            Some(from) => self.change_within(from),
            None => self.change_within(after),
        }
    }

    /// The first instant after `after` at which a rule that does not speak then does; nothing where it never will, or
    /// not until the end of the year after.
    pub fn next_active(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.next_change(after).filter(|at| self.is_active(*at))
    }

    /// As [`Self::next_change`], from an instant that is between the first and the last.
    fn change_within(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.weekly.is_empty() {
            return self.valid_until;
        }
        let now = self.is_active(after);
        let look_ahead = Utc.with_ymd_and_hms(after.year().saturating_add(2), 1, 1, 0, 0, 0).single()?;
        let limit = self.valid_until.map_or(look_ahead, |until| until.min(look_ahead));
        let mut at = after;
        loop {
            // One window may open as another closes.
            at = self.weekly.iter().filter_map(|window| window.next_edge(at)).min()?;
            if at >= limit {
                return self.last_change(now, limit);
            }
            if self.is_active(at) != now {
                return Some(at);
            }
        }
    }

    /// What is left where no window makes a change before `limit`, which is the last instant or how far to look.
    fn last_change(&self, now: bool, limit: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let ends = self.valid_until == Some(limit);
        (now || !ends).then_some(limit)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_from: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_until: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weekly: Vec<Window>,
}

impl TryFrom<WhenText> for When {
    type Error = WhenError;

    fn try_from(text: WhenText) -> Result<Self, Self::Error> {
        Self::new(text.valid_from, text.valid_until, text.weekly)
    }
}

impl From<When> for WhenText {
    fn from(when: When) -> Self {
        let When { valid_from, valid_until, weekly } = when;
        Self { valid_from, valid_until, weekly }
    }
}
