//! `cargo xtask soak`: a test of CI for as long as one likes.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{checkout::Checkout, ebpf, fuzz, program::Program, setup, test::executable};

/// What is run on and on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Subject {
    /// Random policies and packets: the programs in the kernel against the specification (root).
    Dataplane,
    /// Twenty peers of the tunnel that rekey, talk one way or both, some over a bad network: none may go deaf (root).
    Tunnel,
    /// The fuzz targets, one after the other.
    Fuzz,
}

impl Subject {
    /// Its test, if it is one: the package, the program, and the name in it.
    const fn test(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Self::Dataplane => Some((
                "nexa-differential",
                "kernel",
                "specification::the_kernel_says_what_the_specification_says_and_counts_nothing_else",
            )),
            Self::Tunnel => Some(("nexa-tunnel", "hurried", "soak::twenty_peers_rekey_and_none_goes_deaf")),
            Self::Fuzz => None,
        }
    }
}

/// What is played.
#[derive(clap::Args)]
pub struct Plan {
    /// What is run.
    #[arg(value_enum)]
    subject: Subject,
    /// How many packets, of the dataplane.
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    packets: u64,
    /// For how long, of the tunnel, which lives through ten minutes in one, and of the fuzz targets together.
    #[arg(long, value_name = "N", default_value_t = 30)]
    minutes: u32,
    /// Plays the same policies and packets as another run, which printed this. Random if left out.
    #[arg(long)]
    seed: Option<u64>,
}

/// Installs, builds, and becomes the test. Its verdict is the exit code.
///
/// # Errors
/// When something cannot be installed, built or started.
pub fn run(checkout: &Checkout, plan: &Plan) -> Result<ExitCode> {
    let Some((package, name, test)) = plan.subject.test() else {
        return fuzz::soak(checkout, Duration::from_secs(60 * u64::from(plan.minutes)));
    };
    setup::run(checkout)?;
    ebpf::run(checkout)?;
    let executables = executable::build(checkout)?;
    let soaked = executables
        .iter()
        .find(|executable| executable.package == package && executable.name == name)
        .with_context(|| format!("{package} has no test program `{name}`"))?;
    let mut program = Program::new(&soaked.file)
        .directory(&soaked.folder)
        .env("CARGO_MANIFEST_DIR", &soaked.folder)
        .env("NEXA_PACKETS", plan.packets.to_string())
        .env("NEXA_SOAK_MINUTES", plan.minutes.to_string())
        .args(["--exact", "--nocapture", test]);
    if let Some(seed) = plan.seed {
        program = program.env("NEXA_SEED", seed.to_string());
    }
    // In place of this process: Ctrl-C then reaches it, which has nothing to tear down.
    program.root()?.replace()
}
