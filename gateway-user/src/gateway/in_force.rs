//! What is in force, and when it is no longer what it should be by itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use nexa_gateway_core::install::CLOCK_STEP;
use nexa_types::Revision;
use nexa_wire::snapshot::Snapshot;

/// A snapshot in force.
pub struct InForce {
    pub revision: Revision,
    pub snapshot: Arc<Snapshot>,
    /// The gateway's own addresses, which no resource covers.
    pub local: Vec<IpAddr>,
    pub lease_until: DateTime<Utc>,
    /// When a rule begins or ends to speak, and the same snapshot is to be set anew.
    pub next_change: Option<DateTime<Utc>>,
    /// When it came into force.
    pub clocks: Clocks,
}

/// One moment by the clock that only runs, and by the one that may be set.
#[derive(Clone, Copy)]
pub struct Clocks {
    runs: Instant,
    wall: DateTime<Utc>,
}

impl InForce {
    /// How long the kernel says what the rules say; nothing where that is for as long as the lease is.
    pub fn stands_for(&self) -> Option<TimeDelta> {
        self.next_change.map(|change| change - Utc::now())
    }

    /// Whether a rule begins or ends to speak, or the wall clock was set since.
    pub fn is_due(&self) -> bool {
        let is_over = |left| left <= TimeDelta::zero();
        self.clock_has_stepped() || self.stands_for().is_some_and(is_over)
    }

    /// Whether the wall clock was set since.
    pub fn clock_has_stepped(&self) -> bool {
        self.clocks.have_parted_by(Clocks::now())
    }
}

impl Clocks {
    /// This one.
    pub fn now() -> Self {
        Self { runs: Instant::now(), wall: Utc::now() }
    }

    /// Whether the wall clock was set between this moment and a later one, forward or back.
    fn have_parted_by(self, later: Self) -> bool {
        let passed = later.runs.saturating_duration_since(self.runs);
        let passed = TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX);
        (later.wall - self.wall - passed).abs() > CLOCK_STEP
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixture;

    #[test]
    fn a_wall_clock_that_was_set_is_noticed_in_both_directions_and_time_that_passes_is_not() {
        let before = Clocks::now();
        let later = |passed, shown| Clocks { runs: before.runs + passed, wall: before.wall + shown };
        let (day, step) = (Duration::from_secs(86_400), CLOCK_STEP + TimeDelta::milliseconds(1));
        let shown = TimeDelta::days(1);
        assert!(!before.have_parted_by(later(Duration::ZERO, TimeDelta::zero())));
        assert!(!before.have_parted_by(later(day, shown)));
        assert!(!before.have_parted_by(later(day, shown + CLOCK_STEP)), "drift within what is tolerated");
        assert!(before.have_parted_by(later(day, shown + step)));
        assert!(before.have_parted_by(later(day, shown - step)));
        assert!(before.have_parted_by(later(Duration::ZERO, TimeDelta::hours(-1))), "summer time by hand");
    }

    #[test]
    fn what_is_in_force_is_due_when_a_rule_s_time_comes_or_the_clock_was_set() {
        let in_force = |next_change, clocks| InForce {
            revision: Revision(1),
            snapshot: Arc::new(fixture::snapshot()),
            local: Vec::new(),
            lease_until: Utc::now() + TimeDelta::days(1),
            next_change,
            clocks,
        };
        let (now, soon) = (Clocks::now(), Utc::now() + TimeDelta::hours(1));
        assert!(!in_force(None, now).is_due() && !in_force(Some(soon), now).is_due());
        assert!(in_force(Some(Utc::now()), now).is_due());
        for set_by in [TimeDelta::hours(1), TimeDelta::hours(-1)] {
            let set = Clocks { wall: now.wall - set_by, ..now };
            assert!(in_force(None, set).is_due() && in_force(Some(soon), set).is_due(), "{set_by}");
        }
    }
}
