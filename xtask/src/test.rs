//! `cargo xtask test`: builds all tests once, then runs them part by part and counts.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::ValueEnum;

use crate::{checkout::Checkout, ebpf, mutants, progress::say, setup};
use executable::Executable;
use tally::Tally;

mod checks;
pub mod executable;
pub mod guest;
mod run;
mod tally;
mod web;

/// A part of the tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Part {
    /// Formatting, lints, tests of everything that needs neither root nor Postgres, documentation's examples,
    /// the fuzz targets.
    Unit,
    /// The eBPF programs in this kernel (root).
    Ebpf,
    /// The eBPF programs in Linux 6.1, in an emulated machine.
    Guest,
    /// control-api on a real Postgres.
    Api,
    /// The web console's build.
    Web,
    /// Tunnel and lab in network namespaces, the walk-through of the main job, and rounds of faults (root).
    Lab,
}

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// What CI runs.
    Ci,
    /// With long soaks and deep fuzz.
    Full,
}

impl Tier {
    /// The value of `NEXA_TEST_TIER` in the tests' environment.
    const fn name(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::Full => "full",
        }
    }

    /// How many rounds of faults are played.
    const fn fault_rounds(self) -> u32 {
        match self {
            Self::Ci => 50,
            Self::Full => 500,
        }
    }

    /// For how long each fuzz target runs.
    const fn fuzz(self) -> Duration {
        match self {
            Self::Ci => Duration::from_secs(3),
            Self::Full => Duration::from_secs(60),
        }
    }

    /// Soaks of minutes are marked `#[ignore]`, so that CI leaves them out by name and in the open.
    const fn harness_arguments(self) -> Option<&'static str> {
        match self {
            Self::Ci => None,
            Self::Full => Some("--include-ignored"),
        }
    }
}

/// Runs parts, all when `chosen` is empty, and prints the verdict.
///
/// # Errors
/// When setup fails. A test or build that fails is no error but a count, and makes the exit code 1.
pub fn run(checkout: &Checkout, tier: Tier, chosen: &[Part]) -> Result<ExitCode> {
    let parts: Vec<Part> = Part::value_variants()
        .iter()
        .copied()
        .filter(|part| chosen.is_empty() || chosen.contains(part))
        .collect();
    let mut total = Tally::default();
    let mut minutes = Vec::new();
    // The build is shared by the parts that run Rust tests, so that nothing is built twice.
    let start = Instant::now();
    let executables = prepare(checkout, &parts).unwrap_or_else(|error| {
        say(format_args!("build: {error:#}"));
        total.failed += 1;
        Vec::new()
    });
    minutes.push(("build", start.elapsed(), total));
    for part in parts {
        let start = Instant::now();
        let tally = run_part(checkout, tier, part, &executables);
        minutes.push((part.name(), start.elapsed(), tally));
        total += tally;
    }
    for (name, elapsed, tally) in minutes {
        println!("{name:>6}: {:>5.1} min, {tally}", elapsed.as_secs_f64() / 60.0);
    }
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Ebpf => "ebpf",
            Self::Guest => "guest",
            Self::Api => "api",
            Self::Web => "web",
            Self::Lab => "lab",
        }
    }
}

fn prepare(checkout: &Checkout, parts: &[Part]) -> Result<Vec<Executable>> {
    setup::run(checkout)?;
    if parts == [Part::Web] {
        return Ok(Vec::new());
    }
    ebpf::run(checkout)?;
    executable::build(checkout)
}

/// Runs one part. A part that ran no test at all counts as a failure: it would hide that nothing was tested.
fn run_part(checkout: &Checkout, tier: Tier, part: Part, executables: &[Executable]) -> Tally {
    say(format_args!("test: part {}", part.name()));
    let checks = if part == Part::Unit { checks::run(checkout) } else { Tally::default() };
    let mut tests: Tally = executables
        .iter()
        .filter(|executable| executable.part() == part)
        .map(|executable| run::executable(checkout, tier, executable))
        .sum();
    match part {
        Part::Unit => {
            tests += run::doc_tests(checkout);
            tests += run::fuzz(checkout, tier);
            if tier == Tier::Full {
                say("test: mutants of what decides on packets");
                tests += run::report(
                    mutants::run(checkout, &mutants::Plan::all())
                        .map(|code| Tally::one(code == ExitCode::SUCCESS)),
                );
            }
        }
        Part::Lab => {
            tests += run::walk_through(checkout);
            tests += run::faults(checkout, tier);
        }
        Part::Guest => tests += run::report(guest::run(checkout, tier, executables)),
        Part::Web => tests += web::run(checkout),
        Part::Ebpf | Part::Api => {}
    }
    if tests.is_empty() {
        say(format_args!("test: part {} ran no test", part.name()));
        tests.failed += 1;
    }
    checks + tests
}
