//! Pauses between attempts to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from attempt to attempt up to five seconds; the random half keeps a hundred gateways apart after the
/// control plane restarted.
#[derive(Debug)]
pub struct Backoff {
    limit: Duration,
}

impl Backoff {
    /// Starts with short pauses.
    pub const fn new() -> Self {
        Self { limit: FIRST }
    }

    /// Starts with short pauses again.
    pub const fn reset(&mut self) {
        self.limit = FIRST;
    }

    /// How long to wait before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        // Without randomness the pause is merely the longest.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let pause = jittered(self.limit, random);
        self.limit = (self.limit * 2).min(LONGEST);
        pause
    }
}

/// Between half of `limit` and all of it.
fn jittered(limit: Duration, random: u32) -> Duration {
    limit.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_no_further() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = std::iter::repeat_with(|| backoff.next_pause()).take(50).collect();
        assert!(pauses[0] <= FIRST && pauses[1] > pauses[0] / 2);
        assert!(pauses.iter().all(|pause| *pause >= FIRST / 2 && *pause <= LONGEST), "{pauses:?}");
        assert!(pauses[10..].iter().all(|pause| *pause >= LONGEST / 2));
        backoff.reset();
        assert!(backoff.next_pause() <= FIRST);
    }

    #[test]
    fn the_random_part_is_half_of_the_pause() {
        assert_eq!(jittered(LONGEST, 0), LONGEST / 2);
        assert_eq!(jittered(LONGEST, u32::MAX), LONGEST);
    }
}
