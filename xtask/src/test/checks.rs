//! Formatting and lints. Each counts as one test.

use super::{run::succeeds, tally::Tally};
use crate::{checkout::Checkout, progress::say};

/// Runs the checks.
pub fn run(checkout: &Checkout) -> Tally {
    say("test: formatting and lints");
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
    checks.iter().map(|check| Tally::one(succeeds(check))).sum()
}
