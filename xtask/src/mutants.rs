//! `cargo xtask mutants`: flips what decides on packets, one thing at a time, and says which flips no test notices.
//!
//! The engine and the parser are the same code in the kernel and on the host, so they are flipped where tests are fast
//! ([`host`]). What only the programs in the kernel do is flipped there ([`kernel`]). Both work on a copy of the tree.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{checkout::Checkout, program::Program, progress::say, setup::cargo_tool::CargoTool};

mod host;
mod kernel;

/// Makes the mutants.
const CARGO_MUTANTS: CargoTool = CargoTool { name: "cargo-mutants", version: "27.1.0", build: &["--debug"] };

/// What is flipped.
#[derive(clap::Args)]
pub struct Plan {
    /// Only the engine and the parser, or only what the programs do in the kernel.
    #[arg(value_enum)]
    part: Option<Part>,
    /// Only one flip in so many, chosen by the seed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    one_in: u64,
    /// Chooses the same flips as another run, which printed this. Random if left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Only flips in files whose path holds this text, such as "packet".
    #[arg(long)]
    only: Option<String>,
}

/// Where the flipped code runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    /// The engine and the parser, by tests on the host.
    Host,
    /// The programs, by tests in the kernel (root).
    Kernel,
}

/// A flip that changes nothing that a packet, a counter or an event could show.
struct Equivalent {
    /// The end of the file's path.
    file: &'static str,
    /// The line's text.
    line: &'static str,
    /// What is flipped, as cargo-mutants says it.
    flip: &'static str,
    /// Why it is none.
    reason: &'static str,
}

impl Plan {
    /// Every flip.
    pub const fn all() -> Self {
        Self { part: None, one_in: 1, seed: Some(0), only: None }
    }

    fn flips(&self, file: &str) -> bool {
        self.only.as_ref().is_none_or(|only| file.contains(only.as_str()))
    }

    /// Of as many flips, the chosen ones of each round.
    fn shard(&self, seed: u64) -> u64 {
        seed % self.one_in
    }
}

/// Installs cargo-mutants, copies what is needed, and flips. A flip that no test notices is told with file, line and what
/// it is, and makes the exit code 1.
///
/// # Errors
/// When something cannot be installed, copied or built.
pub fn run(checkout: &Checkout, plan: &Plan) -> Result<ExitCode> {
    if !is_installed() {
        CARGO_MUTANTS.install(checkout, None)?;
    }
    let seed = plan.seed.unwrap_or_else(random);
    say(format_args!("mutants: seed {seed}"));
    let chosen = |part| plan.part.is_none_or(|chosen| chosen == part);
    let mut all_are_noticed = true;
    if chosen(Part::Host) {
        all_are_noticed &= host::run(checkout, plan, seed)?;
    }
    if chosen(Part::Kernel) {
        all_are_noticed &= kernel::run(checkout, plan, seed)?;
    }
    Ok(if all_are_noticed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cargo_mutants() -> Result<Program> {
    Ok(Program::new(CARGO_MUTANTS.find().context("cargo-mutants was installed, and is not there")?))
}

/// It is asked in cargo's manner, which is not that of other tools.
fn is_installed() -> bool {
    let version = |program: Program| program.args(["mutants", "--version"]).text();
    cargo_mutants().ok().and_then(version).is_some_and(|text| text.contains(CARGO_MUTANTS.version))
}

fn random() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()))
}

/// Copies folders into a new tree. What did not change keeps its time stamps, so that it is not built again.
fn copy(root: &Path, tree: &Path, folders: &[&str]) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    for folder in folders {
        let to = tree.join(folder);
        let parent = to.parent().context("a folder in the tree")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        Program::new("cp").args(["--archive", "--"]).arg(root.join(folder)).arg(&to).run()?;
    }
    edit(&root.join("Cargo.lock"), &tree.join("Cargo.lock"), str::to_owned)
}

fn edit(from: &Path, to: &Path, change: impl Fn(&str) -> String) -> Result<()> {
    let text = fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    let changed = change(&text);
    // Unchanged bytes keep their time stamp.
    if fs::read_to_string(to).is_ok_and(|old| old == changed) {
        return Ok(());
    }
    fs::write(to, changed).with_context(|| format!("cannot write {}", to.display()))
}

/// The workspace's manifest with these members only, built fast rather than to be fast.
fn workspace(manifest: &str, members: &[&str]) -> String {
    let (before, rest) = manifest.split_once("members = [").unwrap_or((manifest, ""));
    let (_, after) = rest.split_once(']').unwrap_or_default();
    let (after, _) = after.split_once("[profile.").unwrap_or((after, ""));
    let members: Vec<String> = members.iter().map(|folder| format!("\"{folder}\"")).collect();
    format!(
        "{before}members = [{}]{after}\n[profile.dev]\ndebug = false\nopt-level = 1\n",
        members.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::workspace;

    #[test]
    fn a_copy_has_the_members_that_are_copied_and_a_profile_of_its_own() {
        let text = workspace(
            "[workspace]\nmembers = [\n  \"crates/*\",\n]\nexclude = []\n\n[profile.dev]\ndebug = 1\n",
            &["crates/nexa-abi", "gateway-user"],
        );
        assert!(
            text.starts_with("[workspace]\nmembers = [\"crates/nexa-abi\", \"gateway-user\"]\n"),
            "{text}"
        );
        assert!(text.contains("]\nexclude = []\n"), "{text}");
        assert_eq!(text.matches("[profile.dev]").count(), 1, "{text}");
    }
}
