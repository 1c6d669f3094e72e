//! How long a word from one core to another and back takes, with both awake and with both asleep.

use std::{
    hint::spin_loop,
    sync::{
        Barrier,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::eventfd::EventFd,
    unistd::Pid,
};

/// Round trips between two looks at the clock.
const BATCH: u32 = 100;

/// Two CPUs that this process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus([usize; 2]);

/// A word alone on its cache line; two lines, as neighbours are fetched in pairs.
#[repr(align(128))]
struct Line(AtomicU32);

/// Whose turn it is.
const PING: u32 = 1;
const PONG: u32 = 2;
const STOP: u32 = 3;

impl Cpus {
    /// The first two.
    ///
    /// # Errors
    /// When there is one only.
    pub fn two() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("cannot list the CPUs")?;
        let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or_default());
        let (Some(first), Some(second)) = (cpus.next(), cpus.next()) else { bail!("benches need two CPUs") };
        Ok(Self([first, second]))
    }

    /// Nanoseconds of a round trip between two threads that spin on one word.
    ///
    /// # Errors
    /// When a thread cannot be pinned.
    pub fn spin_ns(self, run: Duration) -> Result<f64> {
        let line = Line(AtomicU32::new(PONG));
        let word = &line.0;
        let pong = || {
            loop {
                match word.load(Ordering::Acquire) {
                    PING => word.store(PONG, Ordering::Release),
                    STOP => return Ok(()),
                    _ => spin_loop(),
                }
            }
        };
        let ping = || {
            let start = Instant::now();
            let mut count = 0_u32;
            while start.elapsed() < run || count == 0 {
                for _ in 0..BATCH {
                    word.store(PING, Ordering::Release);
                    while word.load(Ordering::Acquire) != PONG {
                        spin_loop();
                    }
                }
                count += BATCH;
            }
            word.store(STOP, Ordering::Release);
            Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(count))
        };
        self.pinned(ping, pong)
    }

    /// Nanoseconds of a round trip between two threads that sleep until the other wakes them.
    ///
    /// # Errors
    /// When a thread cannot be pinned or woken.
    pub fn sleep_ns(self, run: Duration) -> Result<f64> {
        let [to, back] = [EventFd::new(), EventFd::new()];
        let (to, back) = (to.context("no eventfd")?, back.context("no eventfd")?);
        let pong = || {
            while to.read().context("cannot sleep")? == u64::from(PING) {
                back.write(u64::from(PONG)).context("cannot wake")?;
            }
            Ok(())
        };
        let ping = || {
            let start = Instant::now();
            let mut count = 0_u32;
            while start.elapsed() < run || count == 0 {
                for _ in 0..BATCH {
                    to.write(u64::from(PING)).context("cannot wake")?;
                    back.read().context("cannot sleep")?;
                }
                count += BATCH;
            }
            let took = start.elapsed();
            to.write(u64::from(STOP)).context("cannot wake")?;
            Ok(took.as_secs_f64() * 1e9 / f64::from(count))
        };
        self.pinned(ping, pong)
    }

    /// Runs both at once, each on a CPU of its own, and returns what the first does. Neither starts unless both are
    /// where they belong: one would wait for the other for ever.
    fn pinned<T: Send>(
        self,
        ping: impl FnOnce() -> Result<T> + Send,
        pong: impl FnOnce() -> Result<()> + Send,
    ) -> Result<T> {
        let Self(cpus) = self;
        let (barrier, placed) = (Barrier::new(2), AtomicUsize::new(0));
        let place = |cpu| {
            let pinned = pin(cpu);
            placed.fetch_add(usize::from(pinned.is_ok()), Ordering::Relaxed);
            barrier.wait();
            pinned.and_then(|()| {
                ensure!(placed.load(Ordering::Relaxed) == 2, "the other thread is not on its CPU");
                Ok(())
            })
        };
        thread::scope(|scope| {
            let other = scope.spawn(|| place(cpus[1]).and_then(|()| pong()));
            let outcome = scope.spawn(|| place(cpus[0]).and_then(|()| ping())).join();
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Keeps the calling thread on a CPU.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).context("cannot choose a CPU")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context as _;
    use nix::sched::sched_getcpu;

    use super::Cpus;

    #[test]
    fn a_round_trip_takes_a_time_awake_and_asleep() {
        let cpus = Cpus::two().expect("two CPUs");
        let run = Duration::from_millis(1);
        for ns in [cpus.spin_ns(run).expect("measured"), cpus.sleep_ns(run).expect("measured")] {
            assert!(ns.is_finite() && ns > 0.0, "{ns}");
        }
    }

    #[test]
    fn the_two_run_on_different_cpus() {
        let cpus = Cpus::two().expect("two CPUs");
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = move || sender.send(sched_getcpu().expect("known")).context("sent");
        let first = cpus.pinned(|| Ok(sched_getcpu().expect("known")), other).expect("ran");
        assert_eq!([first, receiver.recv().expect("sent")], cpus.0);
        assert_ne!(cpus.0[0], cpus.0[1]);
    }

    #[test]
    fn a_cpu_that_is_not_there_fails_instead_of_waiting_for_ever() {
        let Cpus([first, _]) = Cpus::two().expect("two CPUs");
        assert!(Cpus([first, 1023]).spin_ns(Duration::from_millis(1)).is_err());
        assert!(Cpus([1023, first]).sleep_ns(Duration::from_millis(1)).is_err());
    }
}
