//! How soon a rule that is taken away refuses, while its packets flow.

use std::{
    cmp::Ordering,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use nexa_gateway::dataplane::Dataplane;
use nexa_gateway_core::{Lowered, lower};
use nexa_lab::interrupt;
use nexa_types::RuleId;
use nexa_wire::{
    delta::Delta,
    snapshot::{Effect, Snapshot},
};

use super::{
    bed::{self, Bed, PEERS},
    entries::{Entries, Who},
    frame::{Frame, Tuple},
    inject::Counter,
    place::{IN, Place, stay_on_cpu},
    sender::Sender,
    world,
};
use crate::{
    interleave::{Better, Metric, Rounds, Series},
    stats::Summary,
};

/// A policy of which rules are taken away.
struct Case {
    metric: Metric,
    groups: u32,
    /// Rules, besides a private one for each peer.
    rules: u32,
}

const CASES: [Case; 2] = [
    Case {
        metric: metric(
            "change_ms",
            "a rule of a set of 2k that 10k peers share is taken away → its first packet refused, flows and all",
        ),
        groups: 1,
        rules: 2_000,
    },
    Case {
        metric: metric(
            "change_100k_ms",
            "a rule of one group of 40, or of everybody, is taken away of 100k → its first packet refused",
        ),
        groups: world::GROUPS,
        rules: 100_000,
    },
];

const fn metric(name: &'static str, what: &'static str) -> Metric {
    Metric { name, unit: "ms", better: Better::Lower, what }
}

/// Changes of a round.
const CHANGES: usize = 20;
/// Packets that are sent at once: it is known of all of them together when they were judged.
const BURST: u32 = 64;
/// So much later a packet may arrive that the kernel has put off, and is then not refused.
const LATE: Duration = Duration::from_millis(50);
/// How long a change may take before it counts as none.
const LIMIT: Duration = Duration::from_secs(30);

/// Where rules are taken away.
struct Scene {
    place: Place,
    through: Counter,
    policy: Policy,
    snapshot: Snapshot,
    entries: Entries,
    rng: fastrand::Rng,
}

/// The policy in force, as a gateway keeps it from one change to the next.
struct Policy {
    lowered: Lowered,
    dataplane: Dataplane,
    lease_until: DateTime<Utc>,
}

/// Names of all that is measured here.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.metric.name)
}

/// Takes rules away and gives them back, one after the other.
pub(super) fn measure(
    bed: &Bed<'_>,
    rounds: Rounds,
    wants: impl Fn(&str) -> bool,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Series>> {
    let mut series = Vec::new();
    for Case { metric, groups, rules } in CASES.into_iter().filter(|case| wants(case.metric.name)) {
        let mut scene = Scene::new(bed, metric.name, groups, rules)?;
        let mut samples = Vec::new();
        for round in 0..rounds.count() {
            for _ in 0..CHANGES {
                interrupt::check()?;
                samples.push(scene.change()?.as_secs_f64() * 1e3);
            }
            say(&format!("{}: round {} of {}", metric.name, round + 1, rounds.count()));
        }
        series.push(Series { metric, summary: Summary::of(samples)? });
    }
    Ok(series)
}

impl Scene {
    fn new(bed: &Bed<'_>, name: &str, groups: u32, rules: u32) -> Result<Self> {
        let place = bed.place(name.trim_end_matches("_ms"))?;
        let through = place.forward()?;
        let snapshot = world::snapshot(PEERS, groups, rules, Effect::Allow)?;
        let entries = Entries::of(&snapshot, Effect::Allow)?;
        let now = Utc::now();
        let (lowered, dataplane) = (lower(&snapshot, &[], now)?, bed::open()?);
        let mut policy = Policy { lowered, dataplane, lease_until: now + TimeDelta::days(1) };
        policy.enforce()?;
        policy.settle()?;
        place.namespace.run(|| policy.dataplane.attach(IN))??;
        Ok(Self { place, through, policy, snapshot, entries, rng: fastrand::Rng::with_seed(3) })
    }

    /// From a rule known to be gone, to the first packet that is refused for it.
    fn change(&mut self) -> Result<Duration> {
        let (rule, frames) = self.packets_of_a_rule()?;
        let gone = Delta { gone_rules: vec![rule], ..Delta::default() };
        let rules = self.snapshot.rules.iter().filter(|other| other.id == rule).cloned().collect();
        let again = Delta { rules, ..Delta::default() };
        let (place, through, policy) = (&self.place, &self.through, &mut self.policy);
        let (flowing, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let taken = thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let refused =
                    place.with_sender(|sender| first_refused(sender, &frames, through, &flowing, &over));
                over.store(true, Relaxed);
                refused
            });
            let changing = scope.spawn(|| {
                // Away from who sends, so that neither waits for the other's slice of a CPU.
                stay_on_cpu(0)?;
                while !flowing.load(Relaxed) && !over.load(Relaxed) {
                    thread::yield_now();
                }
                let start = Instant::now();
                let changed = policy.change(&gone);
                changed.map(|()| start)
            });
            let start = changing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if start.is_err() {
                over.store(true, Relaxed);
            }
            let refused = watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let start = start?;
            anyhow::Ok(refused?.saturating_duration_since(start))
        })?;
        let before = self.policy.allowed()?;
        self.place.with_sender(|sender| sender.send(&frames))?;
        thread::sleep(LATE);
        // Not by what came through: in the first seconds the kernel sends packets of its own there.
        let allowed = self.policy.allowed()? - before;
        ensure!(allowed == 0, "{allowed} of {BURST} packets of rule {rule} still pass");
        self.policy.settle()?;
        self.policy.change(&again)?;
        self.policy.settle()?;
        Ok(taken)
    }

    /// A rule that everybody shares, and packets of several peers that it alone allows.
    fn packets_of_a_rule(&mut self) -> Result<(RuleId, Vec<Frame>)> {
        let Self { snapshot, entries, rng, .. } = self;
        loop {
            let entry = rng.choice(&entries.all).context("a policy without entries")?;
            let alone = entries.all.iter().all(|other| other.rule == entry.rule || !other.overlaps(entry));
            if matches!(entry.who, Who::Peer(_)) || !alone {
                continue;
            }
            let tuples: Vec<Tuple> =
                (0..BURST).map(|_| Tuple::of(snapshot, entries, entry, rng)).collect::<Result<_>>()?;
            if !tuples.iter().all(|tuple| tuple.is_udp()) {
                continue;
            }
            return Ok((entry.rule, tuples.iter().map(|tuple| tuple.frame()).collect()));
        }
    }
}

impl Policy {
    /// What a gateway does with what has arrived and is decoded.
    fn change(&mut self, delta: &Delta) -> Result<()> {
        self.lowered.change(delta, Utc::now())?;
        self.enforce()
    }

    fn enforce(&mut self) -> Result<()> {
        self.dataplane.apply(&self.lowered, self.lease_until)?;
        Ok(())
    }

    /// Packets that rules have allowed so far.
    fn allowed(&self) -> Result<u64> {
        Ok(self.dataplane.counters()?.rules.iter().map(|(_, counted)| counted.allowed_packets).sum())
    }

    /// What it does when nothing arrives.
    fn settle(&mut self) -> Result<()> {
        while self.dataplane.has_retired() {
            self.dataplane.remove_retired()?;
        }
        Ok(())
    }
}

/// Sends bursts until one does not come through whole, and returns when that was sent.
fn first_refused(
    sender: &Sender,
    frames: &[Frame],
    through: &Counter,
    flowing: &AtomicBool,
    over: &AtomicBool,
) -> Result<Instant> {
    let start = Instant::now();
    let mut before = through.packets()?;
    loop {
        sender.send(frames)?;
        let at = Instant::now();
        before += u64::from(BURST);
        let mut now = through.packets()?;
        while now < before && at.elapsed() < LATE {
            thread::yield_now();
            now = through.packets()?;
        }
        match now.cmp(&before) {
            Ordering::Equal => flowing.store(true, Relaxed),
            // One of the kernel's own.
            Ordering::Greater => before = now,
            Ordering::Less if flowing.load(Relaxed) => return Ok(at),
            Ordering::Less => bail!("{now} packets of a rule came through where {before} were sent"),
        }
        ensure!(!over.load(Relaxed) && start.elapsed() < LIMIT, "no packet was refused");
    }
}
