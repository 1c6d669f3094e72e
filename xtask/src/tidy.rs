//! `cargo xtask tidy`: the rules of the tree that no compiler knows. Each finding says what to do.

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{checkout::Checkout, program::Program, progress::say};

mod edges;
mod invariants;
mod size;
mod source;

/// What a rule found.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    place: String,
    /// What is wrong, and what to do.
    fix: String,
    /// Whether the tree may stay like that.
    weight: Weight,
}

/// Whether the tree may stay like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// No.
    Fault,
    /// Yes, but somebody should look again.
    Hint,
}

/// A file of the tree: its path from the root, and its text.
struct File {
    path: String,
    text: String,
}

/// Checks the tree and prints what is found.
///
/// # Errors
/// When the tree cannot be read.
pub fn run(checkout: &Checkout) -> Result<ExitCode> {
    let findings = findings(checkout)?;
    for Finding { place, fix, weight } in &findings {
        let word = if *weight == Weight::Fault { "fault" } else { "hint" };
        say(format_args!("tidy: {word}: {place}: {fix}"));
    }
    let faults = findings.iter().filter(|finding| finding.weight == Weight::Fault).count();
    say(format_args!("tidy: {faults} faults, {} hints", findings.len() - faults));
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn findings(checkout: &Checkout) -> Result<Vec<Finding>> {
    let files = files(checkout)?;
    let mut findings = edges::check(&edges::packages(checkout)?);
    findings.extend(edges::check_lints(&files));
    findings.extend(size::check(&files));
    findings.extend(source::check(&files));
    findings.extend(invariants::check(&files));
    Ok(findings)
}

/// The text files that git knows, or would.
fn files(checkout: &Checkout) -> Result<Vec<File>> {
    let listed = Program::new("git")
        .directory(checkout.root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .command()
        .output()
        .context("cannot start git")?;
    anyhow::ensure!(listed.status.success(), "git cannot list the tree's files; is this a checkout?");
    let read = |path: &str| {
        // What was removed but not committed, and what is no text, has no lines to judge.
        let text = fs::read_to_string(checkout.root().join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    Ok(String::from_utf8_lossy(&listed.stdout).lines().filter_map(read).collect())
}
