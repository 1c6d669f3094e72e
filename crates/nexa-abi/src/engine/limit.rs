//! How much a peer may do in a time: a rate with a burst, kept in one word (the virtual scheduling algorithm of
//! ITU-T I.371, annex A).

/// A rate and a burst.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Nanoseconds of the rate that one costs; 0 for no limit.
    pub interval_ns: u64,
    /// How far a peer may be ahead of the rate, nanoseconds: its burst, times the interval.
    pub ahead_ns: u64,
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { interval_ns: 0, ahead_ns: 0 };

    /// So many a second, and so many at once. A rate of 0 is no limit.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        if per_second == 0 {
            return Self::NONE;
        }
        let interval_ns = 1_000_000_000 / per_second as u64;
        Self { interval_ns, ahead_ns: interval_ns * burst as u64 }
    }

    /// Takes one, if there is one to take. `used_ns` is up to when the peer's share is used up.
    ///
    /// Two CPUs at once may take one for the price of one; a limit is no lock.
    pub const fn take(&self, used_ns: &mut u64, now_ns: u64) -> bool {
        let used = if *used_ns > now_ns { *used_ns } else { now_ns };
        let after = used + self.interval_ns;
        if after - now_ns > self.ahead_ns && self.interval_ns > 0 {
            return false;
        }
        *used_ns = after;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        let limit = Limit::new(100, 5);
        let mut used_ns = 0;
        let start = 1_000_000_000_000;
        let taken = |used_ns: &mut u64, now_ns| (0..20).filter(|_| limit.take(used_ns, now_ns)).count();
        assert_eq!(taken(&mut used_ns, start), 5);
        assert_eq!(taken(&mut used_ns, start + 30_000_000), 3, "100 a second are 3 in 30 ms");
        assert_eq!(
            taken(&mut used_ns, start + 3_600_000_000_000),
            5,
            "what was not taken is not saved beyond the burst"
        );
    }

    #[test]
    fn without_a_rate_nothing_is_limited() {
        let mut used_ns = 0;
        assert!((0..10_000).all(|_| Limit::new(0, 0).take(&mut used_ns, 1)));
    }
}
