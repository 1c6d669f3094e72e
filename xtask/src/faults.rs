//! `cargo xtask faults`: breaks the running system on purpose, again and again.

use std::process::ExitCode;

use anyhow::Result;

use crate::{checkout::Checkout, ebpf, program::Program, setup, up};

/// What is played.
#[derive(clap::Args)]
pub struct Plan {
    /// How many rounds.
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Plays the same rounds as another run, which printed this. Random if left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Only kinds of faults whose name holds this text, such as "killed".
    #[arg(long)]
    only: Option<String>,
}

impl Plan {
    /// So many rounds, of all kinds, in a new order.
    pub const fn of(rounds: u32) -> Self {
        Self { rounds, seed: None, only: None }
    }
}

/// Installs, builds, and plays the rounds. Their verdict is the exit code.
///
/// # Errors
/// When something cannot be installed, built or started.
pub fn run(checkout: &Checkout, plan: &Plan) -> Result<ExitCode> {
    setup::run(checkout)?;
    ebpf::run(checkout)?;
    up::build(checkout)?;
    // In place of this process: Ctrl-C then reaches one program, which tears down before it ends.
    program(checkout, plan).root()?.replace()
}

/// The lab's program that plays the rounds, in a folder of its own: a running lab is not disturbed.
pub fn program(checkout: &Checkout, plan: &Plan) -> Program {
    let seed = plan.seed.map(|seed| ["--seed".to_owned(), seed.to_string()]);
    let only = plan.only.as_ref().map(|only| ["--only".to_owned(), only.clone()]);
    Program::new(checkout.binary("nexa-lab"))
        .directory(checkout.root())
        .arg("faults")
        .arg("--dir")
        .arg(checkout.faults())
        .arg("--bin-dir")
        .arg(checkout.binaries())
        .args(["--rounds", &plan.rounds.to_string()])
        .args(seed.into_iter().flatten())
        .args(only.into_iter().flatten())
}
