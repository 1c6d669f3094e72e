//! Formatting, lints and the rules of the tree. Each counts as one test.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use super::{
    run::{report, succeeds},
    tally::Tally,
};
use crate::{checkout::Checkout, program::Program, progress::say, setup::cargo_tool::CargoTool, tidy};

/// Judges what comes from elsewhere. Built without optimisation: it runs for a second.
const CARGO_DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2", build: &["--debug"] };

/// Runs the checks.
pub fn run(checkout: &Checkout) -> Tally {
    say("test: formatting, lints and rules of the tree");
    // With lock files of their own.
    let apart = ["gateway-ebpf", "tests/fuzz"].map(|folder| checkout.root().join(folder));
    let apart: Vec<_> = apart.into_iter().filter(|folder| folder.join("Cargo.toml").is_file()).collect();
    let mut checks = vec![
        checkout.cargo().args(["fmt", "--all", "--check"]),
        checkout.cargo().args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]),
    ];
    // The stub for the systems that are not built yet has what the crate asks of a platform.
    let stub = ["check", "--quiet", "--package", "nexa-tunnel", "--features", "stub-platform"];
    checks.push(checkout.cargo().args(stub));
    checks.extend(apart.iter().map(|folder| checkout.cargo().directory(folder).args(["fmt", "--check"])));
    let deny = deny(checkout, &apart);
    let tidy = tidy::run(checkout).is_ok_and(|code| code == ExitCode::SUCCESS);
    checks.iter().map(|check| Tally::one(succeeds(check))).chain([Tally::one(tidy), deny]).sum()
}

/// Licences, bans and sources of everything that the workspace and those `apart` depend on; `deny.toml` says which
/// are fine.
fn deny(checkout: &Checkout, apart: &[PathBuf]) -> Tally {
    let judge = || -> Result<Tally> {
        CARGO_DENY.install(checkout, None)?;
        let program = CARGO_DENY.find().context("cargo-deny was installed, and is not there")?;
        let of = |workspace: &Path| {
            let deny = Program::new(&program).directory(checkout.root()).arg("--manifest-path");
            let deny =
                deny.arg(workspace.join("Cargo.toml")).arg("--config").arg(checkout.root().join("deny.toml"));
            // Those apart use few crates, so that not all of the licences are met there.
            let unmet = ["license-not-encountered", "license-exception-not-encountered", "unused-wrapper"];
            let fine = unmet.iter().flat_map(|unmet| ["--allow", unmet]);
            deny.arg("check").args(fine).args(["--hide-inclusion-graph", "licenses", "bans", "sources"])
        };
        let workspaces = std::iter::once(checkout.root()).chain(apart.iter().map(PathBuf::as_path));
        Ok(workspaces.map(|workspace| Tally::one(succeeds(&of(workspace)))).sum())
    };
    report(judge())
}
