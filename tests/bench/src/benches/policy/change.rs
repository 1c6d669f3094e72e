//! How soon a rule that is taken away refuses, while its packets flow.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{TimeDelta, Utc};
use nexa_gateway::dataplane::Dataplane;
use nexa_gateway_core::lower;
use nexa_lab::interrupt;
use nexa_types::RuleId;
use nexa_wire::snapshot::{Effect, Snapshot};

use super::{
    bed::{self, Bed, PEERS},
    entries::{Entries, Who},
    frame::Tuple,
    inject::{Action, Counter, Flows, Injector},
    place::Place,
    world,
};
use crate::{
    interleave::{Better, Metric, Rounds, Series},
    stats::Summary,
};

/// The metric.
pub(super) const METRIC: Metric = Metric {
    name: "change_ms",
    unit: "ms",
    better: Better::Lower,
    what: "a rule of a set that 10k peers share is taken away → its first packet refused, flows and all",
};

/// Rules of the policy, all of one group that everybody is in, besides a private one for each peer.
const RULES: u32 = 2_000;
/// Changes of a round.
const CHANGES: usize = 20;
/// Packets that are injected at once: it is known of all of them together when they were judged.
const BURST: u32 = 64;
/// How long a change may take before it counts as none.
const LIMIT: Duration = Duration::from_secs(30);

/// Where rules are taken away.
struct Scene {
    place: Place,
    through: Counter,
    dataplane: Dataplane,
    snapshot: Snapshot,
    entries: Entries,
    rng: fastrand::Rng,
}

/// Takes rules away and gives them back, one after the other.
pub(super) fn measure(bed: &Bed<'_>, rounds: Rounds, say: &mut dyn FnMut(&str)) -> Result<Series> {
    let place = bed.place("change")?;
    let through = place.forward()?;
    let snapshot = world::snapshot(PEERS, 1, RULES, Effect::Allow)?;
    let entries = Entries::of(&snapshot, Effect::Allow)?;
    let dataplane = bed::installed(&place, &snapshot)?;
    let mut scene = Scene { place, through, dataplane, snapshot, entries, rng: fastrand::Rng::with_seed(3) };
    let mut samples = Vec::new();
    for round in 0..rounds.count() {
        for _ in 0..CHANGES {
            interrupt::check()?;
            samples.push(scene.change()?.as_secs_f64() * 1e3);
        }
        say(&format!("round {} of {}", round + 1, rounds.count()));
    }
    Ok(Series { metric: METRIC, summary: Summary::of(samples)? })
}

impl Scene {
    /// From a rule known to be gone, to the first packet that is refused for it.
    fn change(&mut self) -> Result<Duration> {
        let (rule, injector) = self.packets_of_a_rule()?;
        let mut without = self.snapshot.clone();
        without.rules.retain(|other| other.id != rule);
        let (place, through, dataplane) = (&self.place, &self.through, &mut self.dataplane);
        let (flowing, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let taken = thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let refused = place.with_injector(&injector, BURST, |inject| {
                    first_refused(inject, through, &flowing, &over)
                });
                over.store(true, Ordering::Relaxed);
                refused
            });
            while !flowing.load(Ordering::Relaxed) && !over.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            let start = Instant::now();
            let applied = apply(dataplane, &without);
            if applied.is_err() {
                over.store(true, Ordering::Relaxed);
            }
            let refused = watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            applied?;
            anyhow::Ok(refused?.saturating_duration_since(start))
        })?;
        let before = self.through.packets()?;
        self.place.inject(&injector, BURST)?;
        ensure!(self.through.packets()? == before, "some of the rule's packets still pass");
        apply(&mut self.dataplane, &self.snapshot)?;
        Ok(taken)
    }

    /// A rule that everybody shares, and packets of several peers that it alone allows.
    fn packets_of_a_rule(&mut self) -> Result<(RuleId, Injector)> {
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
            let frames: Vec<_> = tuples.iter().map(|tuple| tuple.frame()).collect();
            return Ok((entry.rule, Injector::new(&frames, Action::Pass, Flows::Repeat)?));
        }
    }
}

/// Injects bursts until one does not come through whole, and returns when that was over.
fn first_refused(
    mut inject: impl FnMut() -> Result<f64>,
    through: &Counter,
    flowing: &AtomicBool,
    over: &AtomicBool,
) -> Result<Instant> {
    let start = Instant::now();
    let mut before = through.packets()?;
    loop {
        inject()?;
        let (at, now) = (Instant::now(), through.packets()?);
        match now - before {
            count if count == u64::from(BURST) => flowing.store(true, Ordering::Relaxed),
            count if flowing.load(Ordering::Relaxed) && count < u64::from(BURST) => return Ok(at),
            count => bail!("of {BURST} packets of a rule {count} came through before it was taken away"),
        }
        ensure!(!over.load(Ordering::Relaxed) && start.elapsed() < LIMIT, "no packet was refused");
        before = now;
    }
}

fn apply(dataplane: &mut Dataplane, snapshot: &Snapshot) -> Result<()> {
    let now = Utc::now();
    dataplane.apply(&lower(snapshot, &[], now)?, now + TimeDelta::days(1))?;
    while dataplane.has_retired() {
        dataplane.remove_retired()?;
    }
    Ok(())
}
