//! The eBPF toolchain: a compiler with a core library for `bpfel-unknown-none`, and bpf-linker.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    checkout::Checkout,
    program::{Program, which},
    progress::{say, step},
};

/// The version that is known to work with LLVM 22.
const BPF_LINKER: &str = "0.13.0";

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

/// Folders where bpf-linker may be beside those of `PATH`.
pub fn linker_folders() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    home.map(|home| home.join("bin")).into_iter().collect()
}

/// Installs bpf-linker, into cargo's folder for programs, unless it is there.
///
/// # Errors
/// When LLVM or an eBPF compiler is missing, or the build fails.
pub fn install(checkout: &Checkout) -> Result<()> {
    compiler()?;
    if linker_version().is_some_and(|version| version.contains(BPF_LINKER)) {
        say("setup: eBPF toolchain is there");
        return Ok(());
    }
    let llvm = Program::new("llvm-config-22")
        .arg("--prefix")
        .text()
        .context("llvm-config-22 is missing: install llvm-22-dev")?;
    step(format_args!("setup: building bpf-linker {BPF_LINKER} (about a minute)"), || {
        // Outside the checkout, whose cargo configuration is for its own crates.
        Program::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(Path::new("/"))
            .args(["install", "bpf-linker", "--locked", "--force", "--no-default-features"])
            .args(["--features", "llvm-22", "--version", BPF_LINKER])
            .env("LLVM_PREFIX", llvm)
            .env("CARGO_TARGET_DIR", checkout.target().join("bpf-linker"))
            .run_logged(&checkout.logs().join("bpf-linker.log"))
    })
}

fn linker_version() -> Option<String> {
    let beside = linker_folders().into_iter().map(|folder| folder.join("bpf-linker"));
    let found = which("bpf-linker").or_else(|| beside.into_iter().find(|file| file.is_file()))?;
    Program::new(found).arg("--version").text()
}
