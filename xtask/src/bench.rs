//! `cargo xtask bench`: measures optimised programs.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::{checkout::Checkout, ebpf, program::Program, progress::step, setup};

mod engines;

/// Where the benches are, a file each.
const FILES: &str = "tests/bench/src/benches";

/// A bench, as its file's name and first line say it.
#[derive(Debug, PartialEq, Eq)]
struct Bench {
    name: String,
    about: String,
}

/// Lists the benches. They are read off the tree, so that no build is needed to know them.
///
/// # Errors
/// When the tree cannot be read.
pub fn list(checkout: &Checkout) -> Result<ExitCode> {
    let benches = find(&checkout.root().join(FILES))?;
    let width = benches.iter().map(|bench| bench.name.len()).max().unwrap_or_default();
    for Bench { name, about } in benches {
        println!("cargo xtask bench {name:width$}  {about}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Installs, builds with optimisation, and becomes the bench, whose exit code says whether all goals are met.
///
/// # Errors
/// When there is no such bench, or something cannot be installed or built.
pub fn run(checkout: &Checkout, name: &str, rounds: Option<u32>, only: Option<String>) -> Result<ExitCode> {
    let benches = find(&checkout.root().join(FILES))?;
    if !benches.iter().any(|bench| bench.name == name) {
        let names: Vec<_> = benches.iter().map(|bench| bench.name.as_str()).collect();
        bail!("there is no bench {name}; there is: {}", names.join(", "));
    }
    setup::run(checkout)?;
    ebpf::run(checkout)?;
    if name == "tunnel" {
        engines::install(checkout)?;
    }
    step("bench: building nexa-control, nexa-gateway, nexa-wg and nexa-bench with optimisation", || {
        let packages =
            ["nexa-control", "nexa-gateway", "nexa-wg", "nexa-bench"].map(|package| ["--package", package]);
        checkout.cargo().args(["build", "--release", "--bins"]).args(packages.as_flattened()).run()
    })?;
    // Made here, as the checkout owner's: what root makes below, the bench gives to the owner of this folder. It is in
    // place of this process, so that Ctrl-C reaches one program, which tears down before it ends.
    let out = checkout.bench();
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let rounds = rounds.map(|rounds| ["--rounds".to_owned(), rounds.to_string()]);
    let only = only.map(|only| ["--only".to_owned(), only]);
    Program::new(checkout.release().join("nexa-bench"))
        .directory(checkout.root())
        .arg(name)
        .args(rounds.into_iter().flatten())
        .args(only.into_iter().flatten())
        .arg("--bin-dir")
        .arg(checkout.release())
        .arg("--tools")
        .arg(engines::folder(checkout).join("bin"))
        .arg("--out")
        .arg(out)
        .root()?
        .replace()
}

/// Finds the benches in a folder, by name.
fn find(folder: &Path) -> Result<Vec<Bench>> {
    let files = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut benches = Vec::new();
    for file in files {
        let path = file.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let (Some(stem), Some("rs")) =
            (path.file_stem(), path.extension().and_then(|ending| ending.to_str()))
        else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let about = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
        benches.push(Bench { name: stem.to_string_lossy().replace('_', "-"), about: about.to_owned() });
    }
    benches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(benches)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{FILES, find};

    #[test]
    fn benches_are_listed_by_name_with_what_they_measure() {
        let benches = find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILES)).expect("listed");
        assert!(benches.iter().any(|bench| bench.name == "main-job"), "{benches:?}");
        assert!(benches.iter().all(|bench| !bench.about.is_empty()), "{benches:?}");
        assert!(benches.is_sorted_by_key(|bench| bench.name.clone()));
    }
}
