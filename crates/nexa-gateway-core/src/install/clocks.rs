//! When a time is up by the boot clock.

use chrono::{DateTime, TimeDelta, Utc};

/// Boot clock and wall clock at one moment, and until when the policy may be served at all.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Boot clock, nanoseconds.
    pub boot_ns: u64,
    /// Wall clock.
    pub wall: DateTime<Utc>,
    /// When everything ends unless another policy arrives.
    pub lease_until: DateTime<Utc>,
}

/// The kernel counts time since boot. When the wall clock moves against that by more, what was computed from it is computed
/// anew.
pub const CLOCK_STEP: TimeDelta = TimeDelta::milliseconds(250);

/// Boot clock and wall clock at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    pub boot_ns: u64,
    pub wall: DateTime<Utc>,
}

impl Moment {
    /// The boot clock at which a device's time is up: its own expiry or the lease, whichever is first. Never 0,
    /// which would mean that nobody is there.
    pub(super) fn boot_deadline_ns(&self, expires_at: Option<DateTime<Utc>>) -> u64 {
        let until = expires_at.map_or(self.lease_until, |expires_at| expires_at.min(self.lease_until));
        Clocks { boot_ns: self.boot_ns, wall: self.wall }.boot_ns_at(until).max(1)
    }
}

impl Clocks {
    /// What the boot clock shows at an instant; what it shows now, if that is over.
    pub(super) fn boot_ns_at(self, at: DateTime<Utc>) -> u64 {
        let left = (at - self.wall).to_std().unwrap_or_default();
        let left_ns = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        self.boot_ns.saturating_add(left_ns)
    }

    /// How far the wall clock has been set since, forward or back.
    pub(super) fn step_to(self, now: Self) -> TimeDelta {
        let passed = i64::try_from(now.boot_ns.saturating_sub(self.boot_ns)).unwrap_or(i64::MAX);
        (now.wall - self.wall - TimeDelta::nanoseconds(passed)).abs()
    }
}
