//! What it costs to enter the kernel and come back.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use nix::unistd::getppid;

/// Calls between two looks at the clock.
const BATCH: u32 = 1000;

/// Calls what the kernel answers at once and no library answers in its place, and returns the nanoseconds of one call.
pub fn call_ns(run: Duration) -> f64 {
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < run || count == 0 {
        for _ in 0..BATCH {
            black_box(getppid());
        }
        count += BATCH;
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::call_ns;

    #[test]
    fn a_call_takes_a_time() {
        let ns = call_ns(Duration::from_millis(1));
        assert!(ns.is_finite() && ns > 0.0, "{ns}");
    }
}
