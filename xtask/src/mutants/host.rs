//! Flips of the engine and the parser, in a copy of the crates that the host's tests of them need.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::{Plan, cargo_mutants, copy, edit, workspace};
use crate::{
    checkout::Checkout,
    progress::{say, step},
};

/// What decides on packets.
const FLIPPED: [&str; 3] =
    ["crates/nexa-abi/src/engine.rs", "crates/nexa-abi/src/engine/*.rs", "crates/nexa-abi/src/packet.rs"];

/// What is copied: the crates that the host's tests of the engine are made of.
const COPIED: [&str; 6] = [
    "crates/nexa-abi",
    "crates/nexa-gateway-core",
    "crates/nexa-policy",
    "crates/nexa-types",
    "crates/nexa-wire",
    "tests/differential",
];

/// Dependencies of tests in the kernel, which are not run.
const KERNEL_ONLY: [&str; 5] = ["anyhow.", "aya.", "libc.", "nexa-gateway =", "tempfile."];

/// Flips that change nothing, as cargo-mutants tells them, and why.
const EQUIVALENT: [(&str, &str); 0] = [];

/// How long a mutant may keep its tests busy.
const LIMIT_SECONDS: &str = "120";

/// cargo-mutants: "some mutants were not caught by any tests", and "some tests timed out".
const MISSED: i32 = 2;
const TIMED_OUT: i32 = 3;

/// Whether every flip is noticed.
///
/// # Errors
/// When something cannot be copied or built.
pub fn run(checkout: &Checkout, plan: &Plan, seed: u64) -> Result<bool> {
    let folder = checkout.target().join("mutants");
    let tree = folder.join("tree");
    step(format_args!("mutants: copying into {}", tree.display()), || {
        copy(checkout.root(), &tree, &COPIED)?;
        let kernel = tree.join("tests/differential/tests/kernel");
        fs::remove_dir_all(&kernel).with_context(|| format!("cannot remove {}", kernel.display()))?;
        edit(&checkout.root().join("Cargo.toml"), &tree.join("Cargo.toml"), |text| workspace(text, &COPIED))?;
        let manifest = tree.join("tests/differential/Cargo.toml");
        edit(&manifest, &manifest, without_kernel)
    })?;
    let files: Vec<&str> = FLIPPED.into_iter().filter(|file| plan.flips(file)).collect();
    if files.is_empty() {
        return Ok(true);
    }
    let status = cargo_mutants()?
        .directory(&tree)
        // Of its own: the other crates' artefacts would be built again after it.
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .args(["mutants", "--in-place", "--package", "nexa-abi"])
        .args(files.into_iter().flat_map(|file| ["--file", file]))
        .args(EQUIVALENT.iter().flat_map(|(flip, _)| ["--exclude-re", flip]))
        .args(["--shard", &format!("{}/{}", plan.shard(seed), plan.one_in), "--sharding", "round-robin"])
        .args(["--test-package", "nexa-differential", "--test-package", "nexa-abi"])
        .args(["--timeout", LIMIT_SECONDS, "--output"])
        .arg(&folder)
        .args(["--", "--lib", "--tests"])
        .status()?;
    match status.code() {
        Some(0) => Ok(true),
        Some(MISSED | TIMED_OUT) => {
            for list in ["missed", "timeout"] {
                let list = folder.join(format!("mutants.out/{list}.txt"));
                print!("{}", fs::read_to_string(list).unwrap_or_default());
            }
            say("mutants: no test notices these; the diffs are in target/mutants/mutants.out/diff");
            Ok(false)
        }
        _ => bail!("cargo-mutants ended with {status}; its logs are in {}", folder.display()),
    }
}

/// The manifest of the host's tests.
fn without_kernel(manifest: &str) -> String {
    let is_needed = |line: &&str| !KERNEL_ONLY.iter().any(|name| line.starts_with(name));
    manifest.lines().filter(is_needed).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::without_kernel;

    #[test]
    fn what_only_the_kernel_s_tests_need_is_left_out() {
        let text = without_kernel("[dev-dependencies]\naya.workspace = true\nserde_json.workspace = true\n");
        assert_eq!(text, "[dev-dependencies]\nserde_json.workspace = true\n");
    }
}
