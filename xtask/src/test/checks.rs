//! Formatting, lints and the rules of the tree. Each counts as one test.

use std::process::ExitCode;

use super::{run::succeeds, tally::Tally};
use crate::{checkout::Checkout, progress::say, tidy};

/// Runs the checks.
pub fn run(checkout: &Checkout) -> Tally {
    say("test: formatting, lints and rules of the tree");
    let ebpf = checkout.root().join("gateway-ebpf");
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
    if ebpf.join("Cargo.toml").is_file() {
        checks.push(checkout.cargo().directory(&ebpf).args(["fmt", "--check"]));
    }
    let tidy = tidy::run(checkout).is_ok_and(|code| code == ExitCode::SUCCESS);
    checks.iter().map(|check| Tally::one(succeeds(check))).chain([Tally::one(tidy)]).sum()
}
