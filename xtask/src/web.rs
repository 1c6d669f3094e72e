//! The web packages: npm, and the build of the web app.

use std::{fs, path::PathBuf};

use anyhow::Result;

use crate::{checkout::Checkout, program::Program, progress::step, setup};

/// `npm`, with a Node that is new enough, in the checkout.
///
/// # Errors
/// When there is no such Node.
pub fn npm(checkout: &Checkout) -> Result<Program> {
    Ok(Program::new("npm").directory(checkout.root()).env("PATH", setup::node_path(checkout)?))
}

/// Builds the web app.
///
/// # Errors
/// When a package cannot be installed or the build fails.
pub fn build(checkout: &Checkout) -> Result<()> {
    let npm = npm(checkout)?;
    if !is_installed(checkout) {
        step("web: installing the packages that the web app is built with", || {
            npm.clone().args(["ci", "--no-audit", "--no-fund", "--silent"]).run()
        })?;
    }
    step("web: building the web app", || {
        npm.clone().args(["run", "build", "--silent", "--workspace", "admin-web"]).run()
    })
}

/// The folder of the built web app.
pub fn folder(checkout: &Checkout) -> PathBuf {
    checkout.root().join("admin-web/dist")
}

/// Whether what is installed is what the lock file names: npm leaves a copy of it, later than the file itself.
fn is_installed(checkout: &Checkout) -> bool {
    let modified = |path: &str| fs::metadata(checkout.root().join(path)).and_then(|file| file.modified());
    match (modified("node_modules/.package-lock.json"), modified("package-lock.json")) {
        (Ok(installed), Ok(locked)) => installed >= locked,
        _ => false,
    }
}
