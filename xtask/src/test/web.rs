//! The web packages: what they need is installed, then all are formatted, linted, built and tested. The tests count one
//! by one, each other command as one test.

use super::{
    run::{counted, report, succeeds},
    tally::Tally,
};
use crate::{checkout::Checkout, progress::say, web};

/// Scripts of the root `package.json` that must succeed.
const CHECKS: [&str; 3] = ["format:check", "lint", "build"];

/// Installs, checks and tests the packages of the root `package.json`.
pub fn run(checkout: &Checkout) -> Tally {
    if !checkout.root().join("package.json").is_file() {
        return Tally::default();
    }
    let npm = match web::npm(checkout) {
        Ok(npm) => npm,
        Err(error) => return report(Err(error)),
    };
    let npm = |arguments: &[&str]| npm.clone().args(arguments);
    say("test: installing the web packages' dependencies");
    if !succeeds(&npm(&["ci", "--no-audit", "--no-fund"])) {
        return Tally::one(false);
    }
    let checks: Tally = CHECKS
        .into_iter()
        .map(|script| {
            say(format_args!("test: npm run {script}"));
            Tally::one(succeeds(&npm(&["run", "--if-present", script])))
        })
        .sum();
    say("test: npm test");
    checks + report(counted(&npm(&["test"]).env("NO_COLOR", "1"), Tally::of_vitest))
}
