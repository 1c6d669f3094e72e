//! eval = decide ∘ lower = the programs, packet by packet.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use nexa_abi::layout::Direction;
use nexa_differential::oracle::Expected;
use nexa_differential::packets::Packet;
use nexa_differential::trial::{self, Answers, Count, Length};
use nexa_differential::{effort, policy, seed};
use nexa_gateway::dataplane::{Dataplane, EGRESS, INGRESS};
use nexa_gateway_core::Lowered;
use nexa_wire::snapshot::Snapshot;

use crate::tally::Tally;
use crate::{Answer, can_be_run, flat, open, run};

/// Packets of a run in CI.
const PACKETS: u64 = 2_000_000;

const CASE: Length = Length { generations: 20, packets: 1_500 };

/// When a case ends at the latest. The oracle has no clock, so no flow may have time to idle out.
const CASE_LIMIT: Duration = Duration::from_secs(15);

/// The programs, and what their counters must say.
struct Kernel {
    dataplane: Dataplane,
    lowered: Lowered,
    tally: Tally,
}

impl Answers for Kernel {
    /// Loading the programs anew would take the verifier longer than all packets of a case.
    fn reset(&mut self) {
        self.apply(&policy::empty());
        self.dataplane.forget_flows().unwrap();
    }

    fn apply(&mut self, snapshot: &Snapshot) {
        self.lowered.set(snapshot, &[], policy::at()).unwrap();
        self.dataplane.apply(&self.lowered, Utc::now() + TimeDelta::days(1)).unwrap();
        self.tally.change(snapshot);
    }

    fn check(&mut self, direction: Direction, packet: &Packet, expected: Expected) -> Result<(), String> {
        if !can_be_run(&packet.bytes) {
            return Ok(());
        }
        let program = match direction {
            Direction::Ingress => INGRESS,
            Direction::Egress => EGRESS,
        };
        let actual = run(&self.dataplane, program, &packet.bytes);
        let wanted = if expected.passes() { Answer::Pass } else { Answer::Drop };
        if actual != wanted {
            return Err(format!("the kernel's answer is {actual:?}"));
        }
        self.tally.count(direction, expected, packet.bytes.len() as u64);
        Ok(())
    }

    fn check_sums(&mut self) -> Result<(), String> {
        let (counted, expected) = (flat(&self.dataplane.counters().unwrap()), self.tally.flat());
        let names = counted.keys().chain(expected.keys());
        let differ = names.filter(|name| counted.get(*name) != expected.get(*name)).map(|name| {
            let [counted, expected] =
                [&counted, &expected].map(|counts| counts.get(name).copied().unwrap_or_default());
            format!("{name}: counted {counted}, expected {expected}")
        });
        let differ: Vec<_> = differ.collect();
        if differ.is_empty() { Ok(()) } else { Err(differ.join("\n")) }
    }
}

/// How many packets to run: `NEXA_PACKETS` where it is set, as by `cargo xtask soak dataplane`.
fn wanted_packets() -> u64 {
    match std::env::var("NEXA_PACKETS") {
        Ok(text) => text.parse().expect("NEXA_PACKETS is a number"),
        Err(_) => PACKETS * effort() as u64,
    }
}

#[test]
fn the_kernel_says_what_the_specification_says_and_counts_nothing_else() {
    let (seed, wanted, start) = (seed(), wanted_packets(), Instant::now());
    let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
    // Each worker has programs and maps of its own. A case is the same whoever plays it.
    let work = || {
        let mut count = Count::default();
        let mut kernel = Kernel { dataplane: open(), lowered: Lowered::default(), tally: Tally::default() };
        while done.load(Ordering::Relaxed) < wanted {
            let seed = seed.wrapping_add(begun.fetch_add(1, Ordering::Relaxed));
            let start = Instant::now();
            let mut rng = fastrand::Rng::with_seed(seed);
            let case = trial::random(&mut rng, CASE, &mut kernel, || start.elapsed() < CASE_LIMIT);
            match case {
                Ok(case) => {
                    done.fetch_add(case.packets, Ordering::Relaxed);
                    count += case;
                }
                // Cases have rising seeds, so with this one the same comes first.
                Err(disagreement) => panic!("again with NEXA_SEED={seed}\n{disagreement}"),
            }
        }
        count
    };
    let mut total = Count::default();
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            total += worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let seen = total.passed.iter().all(|passed| *passed > wanted / 50);
    assert!(seen, "seed {seed}: {total:?}; packets must pass in both directions");
    // Past the harness, which shows what a test prints only if it fails.
    let Count { packets, passed: [ingress, egress] } = total;
    let _ = writeln!(
        std::io::stderr(),
        "seed {seed}: {packets} packets in {:.1} s, passed {ingress} from and {egress} to peers, 0 disagreements",
        start.elapsed().as_secs_f64()
    );
}

#[test]
fn the_kernel_runs_what_is_said_to_be_run() {
    let kernel = open();
    for typed in [[0x08, 0x00], [0x86, 0xdd], [100, 96]] {
        for length in 14..80 {
            let mut bytes = vec![0; length];
            bytes[0] = 0x45;
            bytes[12..14].copy_from_slice(&typed);
            if can_be_run(&bytes) {
                assert_eq!(run(&kernel, INGRESS, &bytes), Answer::Drop, "{length} bytes from {typed:x?}");
            }
        }
    }
}
