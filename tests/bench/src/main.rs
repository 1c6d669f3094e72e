//! `nexa-bench NAME`: runs a bench. Needs root; `cargo xtask bench` calls it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use nexa_bench::{
    benches::{self, Bench, Setting},
    floors::{self, veth::Link},
    goal::Goal,
    interleave::{Rounds, Series},
    ledger::with_ledger,
    machine::Machine,
    report::Report,
};
use nexa_lab::{Programs, down, folder::Folder, interrupt};

/// How long the machine is watched before the start.
const WATCH: Duration = Duration::from_secs(1);

/// Runs a bench.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Which.
    name: String,
    /// How often each case runs, five times or more.
    #[arg(long, default_value = "7")]
    rounds: Rounds,
    /// Measures only what has one of these in its name, judges only goals of that, and leaves out the machine's floors.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where nexa-control and nexa-gateway are.
    #[arg(long, default_value = "target/release")]
    bin_dir: PathBuf,
    /// Where programs of others are, as `cargo xtask bench` builds them.
    #[arg(long, default_value = "target/tools/bin")]
    tools: PathBuf,
    /// Where the JSON goes; the lab's folder is made below it.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(bench) = benches::find(&arguments.name) else {
        bail!("there is no bench {}: `cargo xtask bench` lists them", arguments.name)
    };
    if !nix::unistd::geteuid().is_root() {
        bail!("namespaces and BPF programs need root: use `cargo xtask bench`, which calls sudo");
    }
    let programs = programs(&arguments.bin_dir)?;
    let folder = Folder::open(&arguments.out.join("lab"))?;
    let outcome = report(bench, arguments, &folder, &programs);
    folder.give_back()?;
    outcome
}

fn report(bench: &Bench, arguments: &Arguments, folder: &Folder, programs: &Programs) -> Result<ExitCode> {
    interrupt::watch()?;
    let (_lock, was_running) = down::take_over(folder)?;
    if was_running {
        say("ended the bench that was running");
    }
    let json = arguments.out.join(format!("{}.json", bench.name));
    // A run that does not come to its end leaves no figures of another.
    drop(fs::remove_file(&json));
    let machine = Machine::look(WATCH)?;
    let floors = if arguments.only.is_empty() { floors(folder)? } else { Vec::new() };
    let Arguments { rounds, only, tools, .. } = arguments;
    let setting = Setting { folder, programs, tools, rounds: *rounds, only };
    let logs = folder.root().join("logs");
    let results = (bench.run)(&setting, &mut say)
        .with_context(|| format!("{} has no figures (its logs are in {})", bench.name, logs.display()))?;
    let is_measured = |goal: &&Goal| results.iter().any(|series| series.metric.name == goal.of);
    let goals: Vec<Goal> = match arguments.only.as_slice() {
        [] => bench.goals.to_vec(),
        _ => bench.goals.iter().filter(is_measured).copied().collect(),
    };
    let report = Report::new(bench.name, arguments.rounds, machine, floors, results, &goals)?;
    report.write(&json)?;
    give_back(&json, &arguments.out)?;
    say(&format!("\n{}", report.table()));
    say(&format!("figures are in {}", json.display()));
    Ok(report.exit_code())
}

/// Measures the floors on namespaces that are noted in the ledger of the lab that comes after them.
fn floors(folder: &Folder) -> Result<Vec<Series>> {
    say("floors: what this machine does where nothing of ours is in the way");
    with_ledger(folder, &mut say, |ledger, _| {
        Link::new(folder.prefix(), ledger).and_then(|link| floors::measure(&link))
    })
}

fn programs(folder: &Path) -> Result<Programs> {
    let find = |name: &str| {
        let path = folder.join(name);
        path.canonicalize()
            .with_context(|| format!("{} is missing: run `cargo build --release`", path.display()))
    };
    Ok(Programs { control: find("nexa-control")?, gateway: find("nexa-gateway")?, web: None })
}

/// Gives a file that root made to the owner of the folder around.
fn give_back(file: &Path, around: &Path) -> Result<()> {
    let owner = fs::metadata(around).with_context(|| format!("cannot read {}", around.display()))?;
    chown(file, Some(owner.uid()), Some(owner.gid()))
        .with_context(|| format!("cannot give {} away", file.display()))
}

/// Prints a line. Nobody reading is no reason to end with a panic before the lab is torn down.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
