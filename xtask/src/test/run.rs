//! Runs test programs, documentation's examples and the walk-through, showing and counting their output.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result};

use super::{Tier, executable::Executable, tally::Tally};
use crate::{
    checkout::Checkout,
    faults, fuzz,
    program::{Program, path_with},
    progress::say,
    up,
};

/// Runs one test program.
pub fn executable(checkout: &Checkout, tier: Tier, executable: &Executable) -> Tally {
    say(format_args!("test: {} {} ({})", executable.package, executable.name, executable.kind));
    let program = Program::new(&executable.file)
        .directory(&executable.folder)
        .env("CARGO_MANIFEST_DIR", &executable.folder)
        .args(tier.harness_arguments())
        .env("NEXA_TEST_TIER", tier.name());
    let outcome = if executable.needs_root() {
        as_root(checkout, program, Tally::of_harness)
    } else {
        counted(&program, Tally::of_harness)
    };
    report(outcome)
}

/// Runs the examples in documentation.
pub fn doc_tests(checkout: &Checkout) -> Tally {
    say("test: examples in documentation");
    report(counted(&checkout.cargo().args(["test", "--quiet", "--workspace", "--doc"]), Tally::of_harness))
}

/// Runs each fuzz target for a while; each counts as a test.
pub fn fuzz(checkout: &Checkout, tier: Tier) -> Tally {
    say("test: fuzz targets");
    let found = fuzz::run(checkout, tier.fuzz());
    report(found.map(|targets| targets.into_iter().map(|(_, nothing)| Tally::one(nothing)).sum()))
}

/// Walks through the main job; each step counts as a test.
pub fn walk_through(checkout: &Checkout) -> Tally {
    say("test: walk-through of the main job");
    report(as_root(checkout, up::walk_through(checkout), Tally::of_steps))
}

/// Plays rounds of faults; each counts as a test.
pub fn faults(checkout: &Checkout, tier: Tier) -> Tally {
    let plan = faults::Plan::of(tier.fault_rounds());
    report(as_root(checkout, faults::program(checkout, &plan), Tally::of_steps))
}

fn as_root(checkout: &Checkout, program: Program, count: fn(&str) -> Tally) -> Result<Tally> {
    // Root's PATH may lack the folders for administration, where most of what these tests call is.
    let path = path_with(&["/usr/sbin".into(), "/sbin".into()])?;
    let tally = counted(&program.env("PATH", path).root()?, count);
    checkout.give_back()?;
    tally
}

/// Runs a program, showing its output as it comes, and counts in it. Ending badly without having counted a failure,
/// it counts as one: it crashed, or its build failed.
pub fn counted(program: &Program, count: fn(&str) -> Tally) -> Result<Tally> {
    let mut child =
        program.command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start it")?;
    let mut output = String::new();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line.context("cannot read its output")?;
        println!("{line}");
        output.push_str(&line);
        output.push('\n');
    }
    let status = child.wait().context("cannot wait for it")?;
    let mut tally = count(&output);
    if !status.success() && tally.failed == 0 {
        say(format_args!("test: it ended with {status}"));
        tally.failed += 1;
    }
    Ok(tally)
}

/// Counts a program that could not be run as a failure.
pub fn report(outcome: Result<Tally>) -> Tally {
    outcome.unwrap_or_else(|error| {
        say(format_args!("test: {error:#}"));
        Tally::one(false)
    })
}

/// Whether a program succeeds; its output is shown.
pub fn succeeds(program: &Program) -> bool {
    program.run().map_err(|error| say(format_args!("test: {error:#}"))).is_ok()
}
