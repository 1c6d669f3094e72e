//! `cargo xtask ebpf`: builds the gateway's eBPF programs, which have another target, compiler and lock file.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    checkout::Checkout,
    program::{Program, path_with},
    progress::step,
    setup::{
        cargo_tool,
        toolchain::{self, Compiler},
    },
};

/// bpf-linker links, keeps type information (BTF) for aya, and debug information of which BTF is made.
const FLAGS: [&str; 3] = ["-Clinker=bpf-linker", "-Clink-arg=--btf", "-Cdebuginfo=2"];

/// What becomes of the compiler's warnings.
#[derive(Clone, Copy)]
pub enum Warnings {
    /// They are errors.
    Refused,
    /// Nobody looks at them.
    Ignored,
}

const TARGET: &str = "bpfel-unknown-none";

/// Objects of the package: the programs on wg0, the guard on the uplink, and what benches make packets with.
const OBJECTS: [&str; 3] = ["nexa-gateway-ebpf", "nexa-xdp-ebpf", "nexa-bench-ebpf"];

/// Builds the programs into `target/ebpf/<object>.o`.
///
/// # Errors
/// When the toolchain is missing or the build fails.
pub fn run(checkout: &Checkout) -> Result<()> {
    step("ebpf: building the gateway's programs", || {
        let target = checkout.target().join("ebpf");
        build(checkout, &checkout.root().join("gateway-ebpf"), &target, Warnings::Refused)?.run()?;
        take(&target)
    })
}

/// Builds the package in `source`, for [`take`].
///
/// # Errors
/// When there is no compiler.
pub fn build(checkout: &Checkout, source: &Path, target: &Path, warnings: Warnings) -> Result<Program> {
    let warnings = match warnings {
        Warnings::Refused => "-Dwarnings",
        Warnings::Ignored => "-Awarnings",
    };
    let cargo = match toolchain::compiler()? {
        // The prebuilt core is of this compiler; RUSTC_BOOTSTRAP lets the stable one take what BPF needs.
        Compiler::Debian(rustc) => checkout.cargo().env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1"),
        Compiler::Nightly => Program::new("rustup").args(["run", "nightly", "cargo"]),
    };
    let build_core: &[&str] = match toolchain::compiler()? {
        Compiler::Debian(_) => &[],
        Compiler::Nightly => &["-Z", "build-std=core"],
    };
    Ok(cargo
        .directory(source)
        .args(["build", "--quiet", "--release", "--target", TARGET, "--target-dir"])
        .arg(target)
        .args(build_core)
        .env("CARGO_ENCODED_RUSTFLAGS", [&FLAGS[..], &[warnings]].concat().join("\x1f"))
        .env("PATH", path_with(&cargo_tool::folders())?))
}

/// Puts the objects that were built into `target`.
///
/// # Errors
/// When one is not there.
pub fn take(target: &Path) -> Result<()> {
    OBJECTS.iter().try_for_each(|object| take_one(target, object))
}

fn take_one(target: &Path, program: &str) -> Result<()> {
    let built = target.join(TARGET).join("release").join(program);
    let object = target.join(format!("{program}.o"));
    let bytes = fs::read(&built).with_context(|| format!("the build left no {}", built.display()))?;
    // Unchanged bytes keep their time stamp, so that what embeds them is not built again.
    if fs::read(&object).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(&object, bytes).with_context(|| format!("cannot write {}", object.display()))
}
