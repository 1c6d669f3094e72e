//! `cargo xtask setup`: installs what is missing, and nothing that is already there.

use anyhow::Result;

use crate::{checkout::Checkout, progress::say};

pub mod cargo_tool;
pub mod guest;
mod node;
mod packages;
mod scapy;
pub mod toolchain;

pub use node::path as node_path;

/// Installs what is missing.
///
/// # Errors
/// When something is missing and cannot be installed; the message says what and how to do it by hand.
pub fn run(checkout: &Checkout) -> Result<()> {
    packages::install(checkout)?;
    toolchain::install(checkout)?;
    node::install(checkout)?;
    scapy::install(checkout)?;
    say("setup: everything needed is installed");
    Ok(())
}
