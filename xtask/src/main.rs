//! Set-up, build, the lab, the tests and the benches of NexaVPN: `cargo xtask --help`.
//!
//! Runs as root or as a user with sudo, which it calls for single steps; files below `target/` stay the property of
//! the checkout's owner.
#![expect(clippy::print_stdout, reason = "a command-line tool speaks on standard output")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    checkout::Checkout,
    test::{Part, Tier},
};

mod bench;
mod checkout;
mod ebpf;
mod faults;
mod fuzz;
mod mutants;
mod program;
mod progress;
mod setup;
mod soak;
mod test;
mod tidy;
mod up;
mod web;

/// Set-up, build, the lab, the tests and the benches of NexaVPN.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what is missing: system packages, the eBPF toolchain, Node, scapy.
    Setup,
    /// Builds the gateway's eBPF programs into target/ebpf.
    Ebpf,
    /// Shows the whole system on this machine: builds, starts the lab, walks through the main job, keeps it running.
    Up {
        /// Tears everything down after the walk-through; the exit code is its verdict.
        #[arg(long, conflicts_with = "detach")]
        once: bool,
        /// Leaves the lab running in the background; `cargo xtask down` ends it.
        #[arg(long)]
        detach: bool,
    },
    /// Plays rounds of faults on a lab of its own: killed processes, full disks, bad lines.
    Faults(faults::Plan),
    /// Flips what decides on packets, one thing at a time, and says which flips no test notices.
    Mutants(mutants::Plan),
    /// Runs a test of CI for longer: so many packets, or the same ones as a run that failed.
    Soak(soak::Plan),
    /// Ends a running lab or bench, and removes what a crashed one left.
    Down,
    /// Runs a bench on optimised programs; without a name, lists the benches.
    Bench {
        /// Which.
        name: Option<String>,
        /// How often each case runs: 7 times unless told, never less than 5.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(5..))]
        rounds: Option<u32>,
        /// Measures only what has one of these, with commas between, in its name.
        #[arg(long, value_name = "PARTS")]
        only: Option<String>,
    },
    /// Checks what no compiler knows: who uses whom, lints, sizes of files, what may be said where, what holds what.
    Tidy,
    /// Runs the tests; without a part, all of them. The last line is "N passed, N failed".
    Test {
        /// Adds long soaks and deep fuzz (`NEXA_TEST_TIER=full` in the tests' environment).
        #[arg(long)]
        full: bool,
        /// What to run.
        #[arg(value_enum)]
        parts: Vec<Part>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Checkout::find().and_then(|checkout| match arguments.command {
        Command::Setup => setup::run(&checkout).map(|()| ExitCode::SUCCESS),
        Command::Ebpf => ebpf::run(&checkout).map(|()| ExitCode::SUCCESS),
        Command::Up { once: true, .. } => up::run(&checkout, up::Mode::Once),
        Command::Up { detach: true, .. } => up::run(&checkout, up::Mode::Detached),
        Command::Up { .. } => up::run(&checkout, up::Mode::Foreground),
        Command::Faults(plan) => faults::run(&checkout, &plan),
        Command::Mutants(plan) => mutants::run(&checkout, &plan),
        Command::Soak(plan) => soak::run(&checkout, &plan),
        Command::Down => up::down(&checkout),
        Command::Bench { name: Some(name), rounds, only } => bench::run(&checkout, &name, rounds, only),
        Command::Bench { name: None, .. } => bench::list(&checkout),
        Command::Tidy => tidy::run(&checkout),
        Command::Test { full, parts } => {
            test::run(&checkout, if full { Tier::Full } else { Tier::Ci }, &parts)
        }
    });
    outcome.unwrap_or_else(|error| {
        println!("error: {error:#}");
        ExitCode::FAILURE
    })
}
