//! Talking to the `nft` program.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use super::rules::{self, Spec, TABLE};

/// Why nft did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program is missing or cannot be run.
    #[error("`nft` cannot be run ({0}); install nftables, on Debian with `apt install nftables`")]
    Run(#[from] io::Error),
    /// The kernel or nft refused.
    #[error("`nft` refused: {0}")]
    Refused(String),
}

/// Runs a transaction: all of it takes effect, or nothing.
pub(super) fn load(script: &str) -> Result<(), NftError> {
    run(&["-f", "-"], script).map(drop)
}

/// Our table as nft prints it, without counters; `None` if there is no such table.
pub(super) fn list() -> Result<Option<String>, NftError> {
    match run(&["--stateless", "list", "table", "inet", TABLE], "") {
        Ok(listing) => Ok(Some(listing)),
        Err(NftError::Refused(reason)) if reason.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether our table is in the kernel.
///
/// # Errors
/// When nft cannot be asked.
pub fn is_present() -> Result<bool, NftError> {
    list().map(|listing| listing.is_some())
}

/// Lets nft and the kernel check the guard's text, every feature of it, without putting it in force.
///
/// # Errors
/// With what they lack.
pub fn check(spec: &Spec) -> Result<(), NftError> {
    run(&["--check", "-f", "-"], &rules::fill(spec)).map(drop)
}

/// Everybody's tables, as nft's JSON.
///
/// # Errors
/// When nft cannot be asked.
pub fn ruleset() -> Result<String, NftError> {
    run(&["--json", "list", "ruleset"], "")
}

fn run(arguments: &[&str], input: &str) -> Result<String, NftError> {
    let mut child = Command::new("nft")
        .args(arguments)
        // `list` would otherwise print in the operator's language, and we look for one message.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // nft may refuse and end before it read everything: its own words are then the better error.
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let words = String::from_utf8_lossy(&output.stderr);
        Err(NftError::Refused(words.trim().replace('\n', "; ")))
    }
}
