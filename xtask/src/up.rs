//! `cargo xtask up` and `down`: the whole system on this machine.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::{checkout::Checkout, ebpf, program::Program, progress::step, setup, web};

/// What happens after the walk-through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything is torn down.
    Once,
    /// The lab goes on in the background.
    Detached,
    /// The lab goes on until Ctrl-C.
    Foreground,
}

/// Installs, builds, starts the lab and walks through the main job.
///
/// # Errors
/// When something cannot be installed, built or started. The walk-through's verdict is the exit code.
pub fn run(checkout: &Checkout, mode: Mode) -> Result<ExitCode> {
    setup::run(checkout)?;
    ebpf::run(checkout)?;
    web::build(checkout)?;
    build(checkout)?;
    let flag = match mode {
        Mode::Once => Some("--once"),
        Mode::Detached => Some("--detach"),
        Mode::Foreground => None,
    };
    // In place of this process: Ctrl-C then reaches one program, which tears down before it ends. What root makes
    // in the lab's folder, the lab gives back itself.
    let programs = lab(checkout, "up", &checkout.lab()).args(flag).arg("--bin-dir").arg(checkout.binaries());
    programs.arg("--web-dir").arg(web::folder(checkout)).root()?.replace()
}

/// Ends a running lab, and that of a bench, and removes what a crashed one left.
///
/// # Errors
/// When the lab cannot be built or started.
pub fn down(checkout: &Checkout) -> Result<ExitCode> {
    if !checkout.binary("nexa-lab").is_file() {
        step("down: building the lab's program", || {
            checkout.cargo().args(["build", "--bins", "--package", "nexa-lab"]).run()
        })?;
    }
    let others = [checkout.walk_through(), checkout.faults(), checkout.bench().join("lab")];
    let others = others.iter().flat_map(|folder| ["--dir".as_ref(), folder.as_os_str()]);
    lab(checkout, "down", &checkout.lab()).args(others).root()?.replace()
}

/// The lab's program for this checkout: `up`, which walks through the main job once.
pub fn walk_through(checkout: &Checkout) -> Program {
    lab(checkout, "up", &checkout.walk_through()).arg("--once").arg("--bin-dir").arg(checkout.binaries())
}

fn lab(checkout: &Checkout, verb: &str, folder: &Path) -> Program {
    Program::new(checkout.binary("nexa-lab")).directory(checkout.root()).arg(verb).arg("--dir").arg(folder)
}

/// Builds everything that a lab runs. The whole workspace: other selections have other features, and so build every
/// crate anew.
///
/// # Errors
/// When the build fails.
pub fn build(checkout: &Checkout) -> Result<()> {
    step("building control-api, gateway and lab", || {
        checkout.cargo().args(["build", "--bins", "--workspace"]).run()
    })
}
