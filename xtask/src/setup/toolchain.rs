//! The eBPF toolchain: a compiler with a core library for `bpfel-unknown-none`, and bpf-linker.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::cargo_tool::CargoTool;
use crate::{checkout::Checkout, program::Program};

/// Links what the compiler makes, with the LLVM that Debian has.
const BPF_LINKER: CargoTool = CargoTool {
    name: "bpf-linker",
    version: "0.13.0",
    build: &["--no-default-features", "--features", "llvm-22"],
};

/// Who compiles eBPF programs.
pub enum Compiler {
    /// Debian's rustc with its prebuilt core library.
    Debian(PathBuf),
    /// A rustup nightly with rust-src, which builds core itself.
    Nightly,
}

/// Finds a compiler; Debian's first, as its LLVM is the one that bpf-linker is built with.
///
/// # Errors
/// When there is none.
pub fn compiler() -> Result<Compiler> {
    let debian = Path::new("/usr/bin/rustc");
    let has = |rustc: Program, library: &str| {
        rustc.args(["--print", "sysroot"]).text().is_some_and(|root| Path::new(&root).join(library).exists())
    };
    if has(Program::new(debian), "lib/rustlib/bpfel-unknown-none") {
        return Ok(Compiler::Debian(debian.to_owned()));
    }
    let nightly = Program::new("rustup").args(["run", "nightly", "rustc"]);
    if has(nightly, "lib/rustlib/src/rust/library/core") {
        return Ok(Compiler::Nightly);
    }
    bail!(
        "no compiler for eBPF: install Debian's rustc-web and libstd-rust-web-dev-bpf, \
         or a rustup nightly with rust-src"
    )
}

/// Installs bpf-linker unless it is there.
///
/// # Errors
/// When LLVM or an eBPF compiler is missing, or the build fails.
pub fn install(checkout: &Checkout) -> Result<()> {
    compiler()?;
    let llvm = Program::new("llvm-config-22")
        .arg("--prefix")
        .text()
        .context("llvm-config-22 is missing: install llvm-22-dev")?;
    BPF_LINKER.install(checkout, Some(("LLVM_PREFIX", &llvm)))
}
