//! What a whole policy costs: how long it takes to put in force, beside `nft -f`, and the memory of its maps.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapInfo;
use chrono::{TimeDelta, Utc};
use nexa_gateway::dataplane::{EGRESS, INGRESS};
use nexa_gateway_core::lower;
use nexa_wire::snapshot::{Effect, Snapshot};

use super::{
    bed::{self, Bed, PEERS},
    entries::Entries,
    nft::{self, Form, Hook},
    place::Place,
    world,
};
use crate::interleave::{self, Better, Case, Metric, Plain, Rounds, Series};

/// Rules that come to 100,000 entries, besides private ones.
const RULES: u32 = 23_000;
/// Entries: a protocol's ports at a prefix, for a group or a peer.
const ENTRIES: usize = 100_000;

/// The policy in both forms.
struct Scene {
    snapshot: Snapshot,
    rules: String,
    place: Place,
}

const CASES: [Case<Plain<Scene>>; 3] = [
    Case {
        metric: metric(
            "apply_ours_ms",
            "ms",
            "100k entries: computed from the snapshot and put in force in empty maps",
        ),
        run: |scene, _| scene.ours(),
    },
    Case {
        metric: metric(
            "apply_nft_ms",
            "ms",
            "the same as `nft -f`: a verdict map of peers and interval sets",
        ),
        run: |scene, _| scene.nft(),
    },
    Case {
        metric: metric("maps_mb", "MB", "kernel memory of all maps, with those 100k entries and 10k peers"),
        run: |scene, _| scene.memory_mb(),
    },
];

const fn metric(name: &'static str, unit: &'static str, what: &'static str) -> Metric {
    Metric { name, unit, better: Better::Lower, what }
}

/// Names of all that is measured here.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.metric.name)
}

/// Measures.
pub(super) fn measure(bed: &Bed<'_>, rounds: Rounds, say: &mut dyn FnMut(&str)) -> Result<Vec<Series>> {
    let snapshot = world::snapshot(PEERS, world::GROUPS, RULES, Effect::Allow)?;
    let entries = Entries::of(&snapshot, Effect::Allow)?;
    ensure!(entries.all.len() >= ENTRIES, "{} entries are too few", entries.all.len());
    let rules = nft::rules(&snapshot, &entries, Form::VerdictMap, Hook::Ingress)?;
    let mut scene = Scene { snapshot, rules, place: bed.place("whole")? };
    for (map, bytes) in scene.memory()? {
        say(&format!("map {map}: {:.1} MB", megabytes(bytes)));
    }
    interleave::run(&mut scene, &CASES, rounds, say)
}

impl Scene {
    fn ours(&self) -> Result<f64> {
        let mut dataplane = bed::open()?;
        let (start, now) = (Instant::now(), Utc::now());
        // Kept, as a gateway does: what follows is computed from it.
        let lowered = lower(&self.snapshot, &[], now)?;
        dataplane.apply(&lowered, now + TimeDelta::days(1))?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    fn nft(&self) -> Result<f64> {
        nft::load(&self.place.namespace, "flush ruleset\n")?;
        let start = Instant::now();
        nft::load(&self.place.namespace, &self.rules)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    fn memory_mb(&self) -> Result<f64> {
        Ok(megabytes(self.memory()?.values().sum()))
    }

    /// Bytes of the maps of a dataplane with the policy, by name, as the kernel counts them.
    fn memory(&self) -> Result<BTreeMap<String, u64>> {
        let mut dataplane = bed::open()?;
        let now = Utc::now();
        dataplane.apply(&lower(&self.snapshot, &[], now)?, now + TimeDelta::days(1))?;
        let mut maps = BTreeMap::new();
        for program in [INGRESS, EGRESS] {
            let ids = dataplane.program(program)?.info()?.map_ids()?;
            for id in ids.context("the kernel does not say which maps a program uses")? {
                let info = MapInfo::from_id(id).context("a map is gone")?;
                let bytes = bytes_of(info.fd()?.as_fd())?;
                maps.insert(info.name_as_str().unwrap_or_default().to_owned(), bytes);
            }
        }
        Ok(maps)
    }
}

/// Bytes of a map (proc_pid_fdinfo(5)).
fn bytes_of(map: BorrowedFd<'_>) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    bytes.context("the kernel does not say how large a map is")?.trim().parse().context("no number")
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
