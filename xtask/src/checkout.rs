//! The checkout that xtask works on: its folders, and who owns its files.

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::program::Program;

/// A checkout of the project.
pub struct Checkout {
    root: PathBuf,
    target: PathBuf,
}

impl Checkout {
    /// Finds the checkout whose xtask this is.
    ///
    /// # Errors
    /// When the folder is not there.
    pub fn find() -> Result<Self> {
        // At run time, so that a checkout that was moved with its target folder still finds itself.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).join("..").canonicalize().context("cannot find the checkout")?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
        Ok(Self { root, target })
    }

    /// The folder with the workspace's Cargo.toml.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo and xtask put what they build.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Programs that `setup` installed for this checkout only.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Output of programs that run without showing it.
    pub fn logs(&self) -> PathBuf {
        self.target.join("xtask-logs")
    }

    /// The lab's folder.
    pub fn lab(&self) -> PathBuf {
        self.target.join("lab")
    }

    /// The folder of the lab that the tests walk through: a running lab of `up` is not disturbed.
    pub fn walk_through(&self) -> PathBuf {
        self.target.join("walk-through")
    }

    /// The folder of the lab that faults are played on.
    pub fn faults(&self) -> PathBuf {
        self.target.join("faults")
    }

    /// The figures of benches, and the folder of their lab.
    pub fn bench(&self) -> PathBuf {
        self.target.join("bench")
    }

    /// Where the programs are that `cargo build --release` makes.
    pub fn release(&self) -> PathBuf {
        self.target.join("release")
    }

    /// Where the programs are that `cargo build` makes.
    pub fn binaries(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// A program that `cargo build` makes.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries().join(name)
    }

    /// `cargo`, in the checkout.
    pub fn cargo(&self) -> Program {
        Program::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).directory(&self.root)
    }

    /// Gives files below `target/` that root made back to the checkout's owner.
    ///
    /// # Errors
    /// When the owner cannot be read or root cannot be had.
    pub fn give_back(&self) -> Result<()> {
        let owner = fs::metadata(&self.root).context("cannot read who owns the checkout")?;
        if owner.uid() == 0 || !self.target.exists() {
            return Ok(());
        }
        Program::new("find")
            .arg(&self.target)
            .args(["-user", "root", "-exec", "chown", "-h"])
            .arg(format!("{}:{}", owner.uid(), owner.gid()))
            .args(["{}", "+"])
            .root()?
            .run()
    }
}
