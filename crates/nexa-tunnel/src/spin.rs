use std::time::Duration;

/// How long the loop looks again before it sleeps, at most. A core that sleeps takes tens of microseconds to wake, and
/// an answer that is on its way comes sooner than that.
const MOST: Duration = Duration::from_micros(100);
/// Where it begins; below this it is not worth the while.
const LEAST: Duration = Duration::from_micros(25);
/// What a turn may have moved for an answer to be worth waiting for: a packet or two. Where more comes, the time is
/// better left to those who make it and take it.
const LIGHT_BYTES: usize = 3000;

/// Whether to look again for a while before sleeping: where that would have been right the last time, and with little
/// to do. In vain it is tried for a few hundred microseconds and then no more, so that who is idle sleeps.
pub(crate) struct Spin {
    window: Duration,
    /// Of the last turn.
    bytes: usize,
}

impl Spin {
    pub(crate) const fn new() -> Self {
        Self { window: Duration::ZERO, bytes: 0 }
    }

    /// What the last turn moved.
    pub(crate) const fn moved(&mut self, bytes: usize) {
        self.bytes = bytes;
    }

    /// Whether the last turn was about a packet or two, or none.
    pub(crate) const fn is_light(&self) -> bool {
        self.bytes <= LIGHT_BYTES
    }

    /// For how long to look again now.
    pub(crate) const fn window(&self) -> Duration {
        if self.is_light() { self.window } else { Duration::ZERO }
    }

    /// Learns from a sleep: `waited` is from the end of the last turn to what it ended with.
    pub(crate) fn slept(&mut self, waited: Duration) {
        self.window = if waited < MOST {
            (self.window * 2).clamp(LEAST, MOST)
        } else if self.window > LEAST {
            self.window / 2
        } else {
            Duration::ZERO
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(60);
    const SLOW: Duration = Duration::from_millis(1);

    #[test]
    fn answers_that_come_soon_are_waited_for_and_only_so_long() {
        let mut spin = Spin::new();
        assert_eq!(spin.window(), Duration::ZERO);
        let windows: Vec<_> = (0..5)
            .map(|_| {
                spin.slept(QUICK);
                spin.window().as_micros()
            })
            .collect();
        assert_eq!(windows, [25, 50, 100, 100, 100]);
    }

    #[test]
    fn in_vain_it_is_tried_for_less_than_twice_the_longest_and_then_no_more() {
        let mut spin = Spin::new();
        (0..5).for_each(|_| spin.slept(QUICK));
        let mut in_vain = Duration::ZERO;
        for _ in 0..10 {
            in_vain += spin.window();
            spin.slept(SLOW);
        }
        assert!(in_vain < 2 * MOST, "{in_vain:?}");
        assert_eq!(spin.window(), Duration::ZERO);
    }

    #[test]
    fn where_much_is_moved_it_sleeps_at_once() {
        let mut spin = Spin::new();
        spin.slept(QUICK);
        spin.moved(64 << 10);
        assert_eq!(spin.window(), Duration::ZERO);
        spin.moved(100);
        assert_ne!(spin.window(), Duration::ZERO);
    }
}
