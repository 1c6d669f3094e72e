//! The web console's packages: what they need is installed, then each is built and tested. Each command counts as one
//! test.

use super::{
    run::{npm, succeeds},
    tally::Tally,
};
use crate::checkout::Checkout;

/// Builds and tests the packages, from the root `package.json` or the console's own.
pub fn run(checkout: &Checkout) -> Tally {
    let folders = [checkout.root().to_owned(), checkout.root().join("admin-web")];
    let Some(folder) = folders.iter().find(|folder| folder.join("package.json").is_file()) else {
        return Tally::default();
    };
    let install = if folder.join("package-lock.json").is_file() { "ci" } else { "install" };
    let everywhere: &[&str] = if folder == checkout.root() { &["--workspaces"] } else { &[] };
    let commands: [&[&str]; 3] =
        [&[install, "--no-audit", "--no-fund"], &["run", "build"], &["run", "test", "--if-present"]];
    commands
        .into_iter()
        .map(|command| {
            let workspaces = if command[0] == "run" { everywhere } else { &[] };
            let npm = npm(checkout).map(|npm| npm.directory(folder).args(command).args(workspaces));
            Tally::one(npm.is_ok_and(|npm| succeeds(&npm)))
        })
        .sum()
}
