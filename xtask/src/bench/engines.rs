//! WireGuard engines that the bench `tunnel` measures beside ours: those of others, and ours with a copy in place of its
//! cipher. wireguard-go comes with the packages.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    checkout::Checkout,
    program::Program,
    progress::{say, step},
};

/// Crate, program and the version that figures are of.
const ENGINES: [[&str; 3]; 2] =
    [["boringtun-cli", "boringtun-cli", "0.7.1"], ["gotatun-cli", "gotatun", "0.10.2"]];

/// Where they are built to: below `target`, as nobody else uses them.
pub fn folder(checkout: &Checkout) -> PathBuf {
    checkout.target().join("tools")
}

/// Builds those that are missing, as their authors release them.
///
/// # Errors
/// When a build fails.
pub fn install(checkout: &Checkout) -> Result<()> {
    for [name, program, version] in ENGINES {
        let said = Program::new(folder(checkout).join("bin").join(program)).arg("--version").text();
        if said.is_some_and(|said| said.contains(version)) {
            say(format_args!("bench: {name} is there"));
            continue;
        }
        step(format_args!("bench: building {name} {version}"), || {
            // Outside the checkout, whose cargo configuration is for its own crates.
            Program::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .directory(Path::new("/"))
                .args(["install", name, "--locked", "--force", "--version", version, "--root"])
                .arg(folder(checkout))
                .env("CARGO_TARGET_DIR", checkout.target().join(name))
                .run_logged(&checkout.logs().join(format!("{name}.log")))
        })?;
    }
    step("bench: building nexa-wg with a copy in place of its cipher", || {
        // In a folder of its own: where programs are built that are used, none that does not encrypt shall lie.
        let features = ["--features", "copy-cipher"];
        checkout
            .cargo()
            .args(["install", "--path", "crates/nexa-wg", "--locked", "--force", "--root"])
            .arg(folder(checkout))
            .args(features)
            .env("CARGO_TARGET_DIR", checkout.target().join("nexa-wg-copying"))
            .run_logged(&checkout.logs().join("nexa-wg-copying.log"))
    })
}
