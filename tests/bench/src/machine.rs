//! The machine that a bench runs on, and whether it is free for it.

use std::{
    fmt::{self, Display, Formatter},
    fs, thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// Share of the machine's time that others may use before figures are worse for it, percent.
const BUSY_PERCENT: f64 = 10.0;

/// What is known of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// CPUs that this process may use.
    pub cpus: usize,
    /// What they call themselves.
    pub model: String,
    /// The kernel's release.
    pub kernel: String,
    /// Load averages over 1, 5 and 15 minutes, as the kernel writes them.
    pub load: String,
    /// How much of the machine's time others used just before the start, percent.
    pub busy_percent: f64,
}

impl Machine {
    /// Looks at the machine, for as long as `watch`.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn look(watch: Duration) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let model = read("/proc/cpuinfo")?;
        let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let load = read("/proc/loadavg")?;
        let before = Ticks::parse(&read("/proc/stat")?)?;
        // A window to look through, not a wait for anything.
        thread::sleep(watch);
        let after = Ticks::parse(&read("/proc/stat")?)?;
        Ok(Self {
            cpus: thread::available_parallelism().context("cannot count CPUs")?.get(),
            model: model.map_or("CPUs without a name", |(_, name)| name.trim()).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            busy_percent: after.busy_percent_since(before),
        })
    }

    /// Whether others use so much of the machine that figures are worse for it. The load average does not say: it
    /// remembers the build that came before.
    pub fn is_busy(&self) -> bool {
        self.busy_percent > BUSY_PERCENT
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { cpus, model, kernel, load, busy_percent } = self;
        write!(f, "{cpus} CPUs, {model}, Linux {kernel}; at the start {busy_percent:.0} % busy, load {load}")
    }
}

/// The machine's time, in clock ticks since it started, all CPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
}

impl Ticks {
    /// Reads `/proc/stat` (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal, of which the rest are parts.
    fn parse(stat: &str) -> Result<Self> {
        let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no CPU times")?;
        let times: Vec<u64> = line.split_whitespace().take(8).flat_map(str::parse).collect();
        let idle = times.get(3).context("no idle time")? + times.get(4).unwrap_or(&0);
        Ok(Self { all: times.iter().sum(), idle })
    }

    #[expect(clippy::cast_precision_loss, reason = "ticks of a second")]
    fn busy_percent_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle).min(all);
        if all == 0 { 0.0 } else { (all - idle) as f64 * 100.0 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_was_neither_idle_nor_waiting_for_a_disk() {
        let before = Ticks::parse("cpu  100 0 50 1000 10 0 5 5 7 0\ncpu0 1 2 3\n").expect("read");
        let after = Ticks::parse("cpu  120 0 60 1150 20 0 5 15 7 0\n").expect("read");
        assert_eq!(before, Ticks { all: 1170, idle: 1010 });
        // 20 user, 10 system and 10 stolen of 200.
        assert!((after.busy_percent_since(before) - 20.0).abs() < 1e-9);
        assert!(before.busy_percent_since(before).abs() < 1e-9, "no time passed");
        assert!(Ticks::parse("intr 1 2").is_err());
    }

    #[test]
    fn a_machine_that_others_use_is_called_busy() {
        let machine = |busy_percent| Machine {
            cpus: 2,
            model: "a CPU".to_owned(),
            kernel: "6.12".to_owned(),
            load: "0.10 0.20 0.30".to_owned(),
            busy_percent,
        };
        assert!(!machine(3.0).is_busy());
        assert!(machine(60.0).is_busy());
        assert_eq!(
            machine(60.4).to_string(),
            "2 CPUs, a CPU, Linux 6.12; at the start 60 % busy, load 0.10 0.20 0.30"
        );
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::look(Duration::from_millis(30)).expect("looked");
        assert!(machine.cpus > 0 && !machine.kernel.is_empty());
        assert!((0.0..=100.0).contains(&machine.busy_percent));
    }
}
