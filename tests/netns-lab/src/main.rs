//! `nexa-lab up` and `nexa-lab down`. Needs root; `cargo xtask up` calls it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use nexa_lab::{
    Lab, Programs, description::Description, down, faults, folder::Folder, interrupt, ledger, walk,
};

mod detach;

/// A whole NexaVPN network in namespaces of one machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the lab, walks through the main job, and keeps the lab running.
    Up(Up),
    /// Starts a lab and plays rounds of faults on it: killed processes, full disks, bad lines.
    Faults {
        /// Where nexa-control and nexa-gateway are.
        #[arg(long, default_value = "target/debug")]
        bin_dir: PathBuf,
        /// The lab's folder.
        #[arg(long, default_value = "target/faults")]
        dir: PathBuf,
        /// Decides on order and moments of the faults; the same seed plays the same rounds. Random if left out.
        #[arg(long)]
        seed: Option<u64>,
        /// How many rounds are played.
        #[arg(long, default_value_t = 50)]
        rounds: usize,
        /// Only kinds of faults whose name holds this text.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Ends a running lab and removes what a crashed one left.
    Down {
        /// The lab's folder; may be given several times.
        #[arg(long, default_value = "target/lab")]
        dir: Vec<PathBuf>,
    },
}

#[derive(Args)]
struct Up {
    /// Tears everything down after the walk-through; the exit code is its verdict.
    #[arg(long, conflicts_with = "detach")]
    once: bool,
    /// Leaves the lab running in the background.
    #[arg(long)]
    detach: bool,
    /// Where nexa-control and nexa-gateway are.
    #[arg(long, default_value = "target/debug")]
    bin_dir: PathBuf,
    /// Folder of the built web app, which control-api then serves.
    #[arg(long)]
    web_dir: Option<PathBuf>,
    /// The lab's folder.
    #[arg(long, default_value = "target/lab")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let outcome = run(&Arguments::parse().command);
    outcome.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(command: &Command) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("namespaces and BPF programs need root: use `cargo xtask up`, which calls sudo");
    }
    match command {
        Command::Up(up) if up.detach => detach::run(up),
        Command::Up(up) => {
            let folder = Folder::open(&up.dir)?;
            let outcome = self::up(up, &folder);
            folder.give_back()?;
            outcome
        }
        Command::Faults { bin_dir, dir, seed, rounds, only } => {
            let folder = Folder::open(dir)?;
            // Half as many digits as there could be are enough, and can be typed.
            let seed = seed.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
            let plan = faults::Plan { seed, rounds: *rounds, only: only.clone() };
            let outcome = play(&programs(bin_dir, None)?, &folder, &plan);
            folder.give_back()?;
            outcome
        }
        Command::Down { dir } => {
            let (mut was_running, mut left) = (false, false);
            for dir in dir {
                let (running, said) = remove(&Folder::open(dir)?)?;
                said.iter().for_each(|line| say(line));
                was_running |= running;
                left |= !said.is_empty();
            }
            say(match (was_running, left) {
                (true, _) => "the lab is down",
                (false, true) => "removed what an earlier lab left",
                (false, false) => "no lab was running",
            });
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Ends the lab in a folder; says whether one was running, and what there was to remove.
fn remove(folder: &Folder) -> Result<(bool, Vec<String>)> {
    let (_lock, was_running) = down::take_over(folder)?;
    let said = down::clean(folder)?;
    folder.give_back()?;
    Ok((was_running, said))
}

fn play(programs: &Programs, folder: &Folder, plan: &faults::Plan) -> Result<ExitCode> {
    interrupt::watch()?;
    let (_lock, _) = down::take_over(folder)?;
    say(&format!("faults: {} rounds, seed {}; kinds: {}", plan.rounds, plan.seed, faults::kinds()));
    let mut lab = Lab::start(folder, programs, &mut say)?;
    let outcome = faults::run(&mut lab, plan, &mut say);
    lab.end()?;
    let verdict = outcome?;
    say(&faults::summary(verdict, plan));
    if verdict.failed > 0 {
        say(&format!("logs are in {}", folder.root().join("logs").display()));
    }
    Ok(if verdict.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn up(up: &Up, folder: &Folder) -> Result<ExitCode> {
    interrupt::watch()?;
    let (_lock, was_running) = down::take_over(folder)?;
    if was_running {
        say("ended the lab that was running");
    }
    let mut lab = Lab::start(folder, &programs(&up.bin_dir, up.web_dir.as_deref())?, &mut say)?;
    say("walk-through:");
    let verdict = walk::run(&mut lab, &mut say);
    say(&format!("walk-through: {} of {} steps hold", verdict.passed, verdict.passed + verdict.failed));
    let holds = verdict.failed == 0;
    if !up.once && !interrupt::came() {
        ledger::write(&folder.description(), &Description::of(&lab))?;
        folder.give_back()?;
        show(&lab);
        detach::tell_ready(folder, holds)?;
        while !interrupt::came() {
            thread::sleep(Duration::from_millis(100));
        }
        say("\ntearing down");
    }
    if !holds {
        say(&format!("logs are in {}", folder.root().join("logs").display()));
    }
    lab.end()?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn programs(bin_dir: &Path, web_dir: Option<&Path>) -> Result<Programs> {
    let find = |name: &str| {
        let path = bin_dir.join(name);
        path.canonicalize().with_context(|| format!("{} is missing: run `cargo build`", path.display()))
    };
    let web = web_dir.map(|folder| {
        folder
            .canonicalize()
            .with_context(|| format!("there is no web app in {}: run `npm run build`", folder.display()))
    });
    Ok(Programs { control: find("nexa-control")?, gateway: find("nexa-gateway")?, web: web.transpose()? })
}

/// Says how to try the running lab.
fn show(lab: &Lab) {
    let url = lab.console.url();
    // Whoever called with sudo needs it again to enter a namespace.
    let sudo = if std::env::var_os("SUDO_USER").is_some() { "sudo " } else { "" };
    let [first, second] = lab.network.clients.each_ref().map(|client| client.name());
    say(&format!(
        "\nThe system is running.\n\
         \x20 console   {url}/\n\
         \x20 API       {url}/api/docs/\n\
         \x20 sign in   {} / {}\n\
         \x20 metrics   {}/metrics\n\
         \x20 granted   {sudo}ip netns exec {first} curl -s http://10.20.0.10/\n\
         \x20 refused   {sudo}ip netns exec {second} curl -s --max-time 3 http://10.20.0.10/\n\
         \x20 tunnel    {sudo}ip netns exec {first} wg show\n\
         \x20 details   {}\n\
         Ctrl-C, or `cargo xtask down`, ends it.",
        lab.admin.0,
        lab.admin.1,
        lab.metrics.url(),
        lab.folder.description().display(),
    ));
}

/// Prints a line. Nobody reading is no reason to end with a panic before the lab is torn down.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
