//! The benches, one file each, which `cargo xtask bench` lists by their files' names and first lines.

use std::path::Path;

use anyhow::Result;
use nexa_lab::{Programs, folder::Folder};

use crate::{
    goal::Goal,
    interleave::{Rounds, Series},
};

mod main_job;
mod policy;
mod tunnel;

/// Measures, and tells the second argument what happens.
pub type Run = fn(&Setting<'_>, &mut dyn FnMut(&str)) -> Result<Vec<Series>>;

/// A bench.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Its name: that of its file, with hyphens.
    pub name: &'static str,
    /// Measures.
    pub run: Run,
    /// What is asked of its results; docs/performance.md has the reasons.
    pub goals: &'static [Goal],
}

/// What a bench works with.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The folder of its lab, locked.
    pub folder: &'a Folder,
    /// The programs that it measures.
    pub programs: &'a Programs,
    /// Where programs of others are that it measures beside them.
    pub tools: &'a Path,
    /// How often each case runs.
    pub rounds: Rounds,
    /// Parts of names of what is to be measured; without any, all is.
    pub only: &'a [String],
}

impl Setting<'_> {
    /// Whether what has this name is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

/// All of them.
pub const ALL: &[Bench] = &[main_job::BENCH, policy::BENCH, tunnel::BENCH];

/// The bench of this name.
pub fn find(name: &str) -> Option<&'static Bench> {
    ALL.iter().find(|bench| bench.name == name)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::ALL;

    #[test]
    fn every_file_is_a_bench_and_says_what_it_measures() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/benches");
        let mut files: Vec<_> = fs::read_dir(folder)
            .expect("listed")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
            .inspect(|path| assert!(fs::read_to_string(path).expect("read").starts_with("//! ")))
            .map(|path| path.file_stem().expect("a name").to_string_lossy().replace('_', "-"))
            .collect();
        files.sort();
        let mut names: Vec<_> = ALL.iter().map(|bench| bench.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }
}
