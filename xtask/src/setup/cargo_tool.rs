//! Programs that cargo builds and keeps in its own folder for programs, where all checkouts find them.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    checkout::Checkout,
    program::{Program, which},
    progress::{say, step},
};

/// A program of the crates' registry.
pub struct CargoTool {
    /// Name of crate and program.
    pub name: &'static str,
    /// The version that is known to work.
    pub version: &'static str,
    /// What is built how, as arguments of `cargo install`.
    pub build: &'static [&'static str],
}

impl CargoTool {
    /// Installs it unless this version is there. `variable` goes into the build's environment.
    ///
    /// # Errors
    /// When the build fails.
    pub fn install(&self, checkout: &Checkout, variable: Option<(&str, &str)>) -> Result<()> {
        let Self { name, version, build } = self;
        if self
            .find()
            .and_then(|file| Program::new(file).arg("--version").text())
            .is_some_and(|text| text.contains(version))
        {
            say(format_args!("setup: {name} is there"));
            return Ok(());
        }
        step(format_args!("setup: building {name} {version} (about a minute)"), || {
            // Outside the checkout, whose cargo configuration is for its own crates.
            let mut cargo = Program::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .directory(Path::new("/"))
                .args(["install", name, "--locked", "--force", "--version", version])
                .args(*build)
                .env("CARGO_TARGET_DIR", checkout.target().join(name))
                // They run for seconds: symbols for debugging would cost more to write.
                .env("CARGO_PROFILE_DEV_DEBUG", "0");
            if let Some((name, value)) = variable {
                cargo = cargo.env(name, value);
            }
            cargo.run_logged(&checkout.logs().join(format!("{name}.log")))
        })
    }

    /// The program, on `PATH` or in cargo's folder.
    pub fn find(&self) -> Option<PathBuf> {
        let beside = folders().into_iter().map(|folder| folder.join(self.name));
        which(self.name).or_else(|| beside.into_iter().find(|file| file.is_file()))
    }
}

/// Folders where cargo keeps programs, which may not be on `PATH`.
pub fn folders() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    home.map(|home| home.join("bin")).into_iter().collect()
}
