//! `cargo xtask soak`: a test of CI for as long as one likes.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{checkout::Checkout, ebpf, program::Program, setup, test::executable};

/// What is run on and on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Subject {
    /// Random policies and packets: the programs in the kernel against the specification (root).
    Dataplane,
}

/// What is played.
#[derive(clap::Args)]
pub struct Plan {
    /// What is run.
    #[arg(value_enum)]
    subject: Subject,
    /// How many packets.
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    packets: u64,
    /// Plays the same policies and packets as another run, which printed this. Random if left out.
    #[arg(long)]
    seed: Option<u64>,
}

/// Installs, builds, and becomes the test. Its verdict is the exit code.
///
/// # Errors
/// When something cannot be installed, built or started.
pub fn run(checkout: &Checkout, plan: &Plan) -> Result<ExitCode> {
    setup::run(checkout)?;
    ebpf::run(checkout)?;
    let Subject::Dataplane = plan.subject;
    let executables = executable::build(checkout)?;
    let kernel = executables
        .iter()
        .find(|executable| executable.package == "nexa-differential" && executable.name == "kernel")
        .context("nexa-differential has no test program `kernel`")?;
    let mut program = Program::new(&kernel.file)
        .directory(&kernel.folder)
        .env("CARGO_MANIFEST_DIR", &kernel.folder)
        .env("NEXA_PACKETS", plan.packets.to_string())
        .args(["--exact", "--nocapture"])
        .arg("specification::the_kernel_says_what_the_specification_says_and_counts_nothing_else");
    if let Some(seed) = plan.seed {
        program = program.env("NEXA_SEED", seed.to_string());
    }
    // In place of this process: Ctrl-C then reaches it, which has nothing to tear down.
    program.root()?.replace()
}
