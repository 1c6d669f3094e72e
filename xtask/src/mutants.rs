//! `cargo xtask mutants`: flips what decides on packets, one thing at a time, and says which flips no test notices.
//!
//! The engine and the parser are the same code in the kernel and on the host, so they are flipped where tests are fast: in
//! a copy of the tree with the crates that the host's tests need, and nothing that needs root.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    checkout::Checkout,
    program::Program,
    progress::{say, step},
    setup::cargo_tool::CargoTool,
};

/// Makes the mutants, builds each and runs the tests on it.
const CARGO_MUTANTS: CargoTool = CargoTool { name: "cargo-mutants", version: "27.1.0", build: &["--debug"] };

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

/// How long a mutant may keep its tests busy.
const LIMIT_SECONDS: &str = "120";

/// cargo-mutants: "some mutants were not caught by any tests", and "some tests timed out".
const MISSED: i32 = 2;
const TIMED_OUT: i32 = 3;

/// What is flipped.
#[derive(clap::Args)]
pub struct Plan {
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

impl Plan {
    /// Every flip.
    pub const fn all() -> Self {
        Self { one_in: 1, seed: Some(0), only: None }
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
    let folder = checkout.target().join("mutants");
    let tree = folder.join("tree");
    step(format_args!("mutants: copying into {}", tree.display()), || copy(checkout.root(), &tree))?;
    let seed = plan.seed.unwrap_or_else(random);
    say(format_args!("mutants: seed {seed}"));
    let files =
        FLIPPED.iter().filter(|file| plan.only.as_ref().is_none_or(|only| file.contains(only.as_str())));
    let program = CARGO_MUTANTS.find().context("cargo-mutants was installed, and is not there")?;
    let status = Program::new(program)
        .directory(&tree)
        // Of its own: the other crates' artefacts would be built again after it.
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .args(["mutants", "--in-place", "--package", "nexa-abi"])
        .args(files.flat_map(|file| ["--file", file]))
        .args(["--shard", &format!("{}/{}", seed % plan.one_in, plan.one_in), "--sharding", "round-robin"])
        .args(["--test-package", "nexa-differential", "--test-package", "nexa-abi"])
        .args(["--timeout", LIMIT_SECONDS, "--output"])
        .arg(&folder)
        .args(["--", "--lib", "--tests"])
        .status()?;
    match status.code() {
        Some(0) => Ok(ExitCode::SUCCESS),
        Some(MISSED | TIMED_OUT) => {
            for list in ["missed", "timeout"] {
                let list = folder.join(format!("mutants.out/{list}.txt"));
                print!("{}", fs::read_to_string(list).unwrap_or_default());
            }
            say("mutants: no test notices these; the diffs are in target/mutants/mutants.out/diff");
            Ok(ExitCode::FAILURE)
        }
        _ => bail!("cargo-mutants ended with {status}; its logs are in {}", folder.display()),
    }
}

/// It is asked in cargo's manner, which is not that of other tools.
fn is_installed() -> bool {
    let version = |file| Program::new(file).args(["mutants", "--version"]).text();
    CARGO_MUTANTS.find().and_then(version).is_some_and(|text| text.contains(CARGO_MUTANTS.version))
}

fn random() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()))
}

/// Makes a workspace of what is copied. What did not change keeps its time stamps, so that it is not built again.
fn copy(root: &Path, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    for folder in COPIED {
        let to = tree.join(folder);
        let parent = to.parent().context("a folder in the tree")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        Program::new("cp").args(["--archive", "--"]).arg(root.join(folder)).arg(&to).run()?;
    }
    let kernel = tree.join("tests/differential/tests/kernel");
    fs::remove_dir_all(&kernel).with_context(|| format!("cannot remove {}", kernel.display()))?;
    edit(&root.join("Cargo.lock"), &tree.join("Cargo.lock"), str::to_owned)?;
    edit(&root.join("Cargo.toml"), &tree.join("Cargo.toml"), workspace)?;
    let manifest = tree.join("tests/differential/Cargo.toml");
    edit(&manifest, &manifest, without_kernel)
}

fn edit(from: &Path, to: &Path, change: impl Fn(&str) -> String) -> Result<()> {
    let text = fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    fs::write(to, change(&text)).with_context(|| format!("cannot write {}", to.display()))
}

/// The workspace's manifest for what is copied, built fast rather than to be fast.
fn workspace(manifest: &str) -> String {
    let (before, rest) = manifest.split_once("members = [").unwrap_or((manifest, ""));
    let (_, after) = rest.split_once(']').unwrap_or_default();
    let (after, _) = after.split_once("[profile.").unwrap_or((after, ""));
    let members = COPIED.map(|folder| format!("\"{folder}\"")).join(", ");
    format!("{before}members = [{members}]{after}\n[profile.dev]\ndebug = false\nopt-level = 1\n")
}

/// The manifest of the host's tests.
fn without_kernel(manifest: &str) -> String {
    let is_needed = |line: &&str| !KERNEL_ONLY.iter().any(|name| line.starts_with(name));
    manifest.lines().filter(is_needed).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{without_kernel, workspace};

    #[test]
    fn the_copy_has_the_members_that_are_copied_and_a_profile_of_its_own() {
        let text = workspace(
            "[workspace]\nmembers = [\n  \"crates/*\",\n]\nexclude = []\n\n[profile.dev]\ndebug = 1\n",
        );
        assert!(text.starts_with("[workspace]\nmembers = [\"crates/nexa-abi\", "), "{text}");
        assert!(text.contains("]\nexclude = []\n"), "{text}");
        assert_eq!(text.matches("[profile.dev]").count(), 1, "{text}");
    }

    #[test]
    fn what_only_the_kernel_s_tests_need_is_left_out() {
        let text = without_kernel("[dev-dependencies]\naya.workspace = true\nserde_json.workspace = true\n");
        assert_eq!(text, "[dev-dependencies]\nserde_json.workspace = true\n");
    }
}
