//! The fuzz targets of tests/fuzz, by libFuzzer.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{checkout::Checkout, program::Program, progress::say, setup};

/// What libFuzzer is guided by. Any compiler has this pass; what cargo-fuzz needs a nightly one for is sanitizers.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// With a target that is named, flags are for it alone and not for build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// More than any parser looks at as a whole.
const MOST_BYTES: u32 = 4096;

/// Runs each target for a while; whether it found nothing, by its name.
///
/// # Errors
/// When the targets cannot be built.
pub fn run(checkout: &Checkout, each: Duration) -> Result<Vec<(String, bool)>> {
    let package = checkout.root().join("tests/fuzz");
    let built = checkout.root().join("target/fuzz");
    let program = build(checkout, &package, &built)?;
    let names = names(&package.join("seeds"))?;
    Ok(names.into_iter().map(|name| (name.clone(), fuzz(&program, &package, &built, &name, each))).collect())
}

/// Runs all targets for so long in all.
///
/// # Errors
/// When something cannot be installed or built.
pub fn soak(checkout: &Checkout, all: Duration) -> Result<ExitCode> {
    setup::run(checkout)?;
    let count = u32::try_from(names(&checkout.root().join("tests/fuzz/seeds"))?.len()).unwrap_or(u32::MAX);
    let found: Vec<String> = run(checkout, all / count.max(1))?
        .into_iter()
        .filter_map(|(name, nothing)| (!nothing).then_some(name))
        .collect();
    say(format_args!(
        "fuzz: {}",
        if found.is_empty() { "nothing found".to_owned() } else { found.join(", ") }
    ));
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(checkout: &Checkout, package: &Path, built: &Path) -> Result<PathBuf> {
    let cargo = checkout.cargo().directory(package).env("RUSTFLAGS", COVERAGE);
    cargo
        .args(["build", "--quiet", "--locked", "--release", "--target", TARGET, "--target-dir"])
        .arg(built)
        .run()?;
    Ok(built.join(TARGET).join("release/nexa-fuzz"))
}

/// Each target has a folder of seeds.
fn names(seeds: &Path) -> Result<Vec<String>> {
    let folders = fs::read_dir(seeds).with_context(|| format!("cannot list {}", seeds.display()))?;
    let names = folders.map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Whether nothing was found. What was lies in `found`, and in the log how it looked.
fn fuzz(program: &Path, package: &Path, built: &Path, name: &str, each: Duration) -> bool {
    let run = || -> Result<()> {
        let (corpus, found) = (built.join("corpus").join(name), built.join("found"));
        fs::create_dir_all(&corpus).context("cannot make a folder")?;
        fs::create_dir_all(&found).context("cannot make a folder")?;
        let log = found.join(format!("{name}.log"));
        Program::new(program)
            .env("NEXA_FUZZ_TARGET", name)
            .arg(format!("-max_total_time={}", each.as_secs().max(1)))
            .arg(format!("-max_len={MOST_BYTES}"))
            .args(["-timeout=10", "-rss_limit_mb=2048"])
            .arg(format!("-artifact_prefix={}/{name}-", found.display()))
            .arg(&corpus)
            .arg(package.join("seeds").join(name))
            .run_logged(&log)
            .with_context(|| format!("{} says what was found", log.display()))
    };
    let outcome = run();
    match &outcome {
        Ok(()) => say(format_args!("fuzz: {name} ... ok")),
        Err(error) => say(format_args!("fuzz: {name} ... FAILED: {error:#}")),
    }
    outcome.is_ok()
}
