use std::time::{Duration, Instant};

/// How precise timers are; boringtun asks for about this.
pub(crate) const TICK: Duration = Duration::from_millis(250);

const SLOTS: usize = 64;

/// A timer wheel over small ids. An entry cannot be taken back: its owner remembers the tick it waits for and
/// ignores every other one.
pub(crate) struct Wheel {
    start: Instant,
    /// The last tick that has been expired.
    past: u64,
    slots: [Vec<(usize, u64)>; SLOTS],
    entries: usize,
}

impl Wheel {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, past: 0, slots: std::array::from_fn(|_| Vec::new()), entries: 0 }
    }

    /// The first tick that is not before `at` and still to come.
    pub(crate) fn tick_of(&self, at: Instant) -> u64 {
        let elapsed = at.saturating_duration_since(self.start).as_millis() as u64;
        elapsed.div_ceil(TICK.as_millis() as u64).max(self.past + 1)
    }

    /// Wakes `id` at `tick`, which must be one that [`Wheel::tick_of`] returned since the last [`Wheel::expire`].
    pub(crate) fn insert(&mut self, id: usize, tick: u64) {
        self.slots[tick as usize % SLOTS].push((id, tick));
        self.entries += 1;
    }

    /// When [`Wheel::expire`] may have something to give. It may turn out to be nothing.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.entries == 0 {
            return None;
        }
        let next = (self.past + 1..=self.past + SLOTS as u64)
            .find(|tick| !self.slots[*tick as usize % SLOTS].is_empty());
        next.map(|tick| self.start + TICK * u32::try_from(tick).unwrap_or(u32::MAX))
    }

    /// Moves every entry whose tick has come into `due`.
    pub(crate) fn expire(&mut self, now: Instant, due: &mut Vec<(usize, u64)>) {
        let tick = (now.saturating_duration_since(self.start).as_millis() / TICK.as_millis()) as u64;
        if tick <= self.past {
            return;
        }
        for passed in (self.past + 1..=tick).take(SLOTS) {
            self.slots[passed as usize % SLOTS].retain(|entry| {
                let waits = entry.1 > tick;
                if !waits {
                    due.push(*entry);
                }
                waits
            });
        }
        self.past = tick;
        self.entries = self.slots.iter().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(wheel: &mut Wheel, now: Instant) -> Vec<usize> {
        let mut due = Vec::new();
        wheel.expire(now, &mut due);
        due.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn an_entry_comes_once_and_not_before_its_time() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let tick = wheel.tick_of(start + Duration::from_millis(600));
        wheel.insert(7, tick);
        assert_eq!(wheel.next(), Some(start + 3 * TICK));
        assert_eq!(expired(&mut wheel, start + Duration::from_millis(749)), []);
        assert_eq!(expired(&mut wheel, start + Duration::from_millis(750)), [7]);
        assert_eq!(expired(&mut wheel, start + Duration::from_secs(60)), []);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn entries_beyond_one_turn_wait_for_theirs() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let far = start + TICK * 200;
        let tick = wheel.tick_of(far);
        wheel.insert(1, tick);
        let mut now = start;
        while now + TICK < far {
            now += TICK;
            assert_eq!(expired(&mut wheel, now), []);
            assert!(wheel.next().is_some_and(|next| next > now && next <= far));
        }
        assert_eq!(expired(&mut wheel, far), [1]);
    }

    #[test]
    fn after_a_long_sleep_everything_due_comes_at_once() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for seconds in [1, 20, 90] {
            let tick = wheel.tick_of(start + Duration::from_secs(seconds));
            wheel.insert(seconds as usize, tick);
        }
        let mut due = expired(&mut wheel, start + Duration::from_secs(3600));
        due.sort_unstable();
        assert_eq!(due, [1, 20, 90]);
    }

    #[test]
    fn the_past_becomes_the_next_tick() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.expire(start + 10 * TICK, &mut Vec::new());
        let tick = wheel.tick_of(start);
        wheel.insert(1, tick);
        assert_eq!(expired(&mut wheel, start + 11 * TICK), [1]);
    }
}
