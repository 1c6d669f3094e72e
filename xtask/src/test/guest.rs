//! The programs in the oldest kernel that is supported: Debian's 6.1, in an emulated machine without disk or network.
//!
//! The guest has the kernel's tests of this checkout as they were built for this host, the libraries they are linked
//! with, and `ip` and `tc`. It is emulated in software, because machines for CI seldom let their guests have guests.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use super::{Tier, executable::Executable, run::counted, tally::Tally};
use crate::{
    checkout::Checkout,
    program::{Program, which},
    progress::say,
    setup::guest::{self, Kernel},
};

/// The package whose `kernel` tests run in the guest.
const PACKAGE: &str = "nexa-differential";

/// What CI asks of the guest: its verifier takes both programs and the guard, flows and devices are told apart, and
/// clsact, which a kernel without tcx needs, keeps the filters.
const CHOSEN: &[&str] = &[
    "flows::only_an_answer_passes_to_a_peer",
    "devices::a_device_is_reached_only_by_who_may_and_only_its_answers_come_back",
    "xdp_guard::a_guard_that_is_told_nothing_or_no_port_passes_everything",
    "restart::without_tcx_filters_outlive_the_daemon_and_are_replaced_in_place",
];

/// What not even `--full` asks of the guest, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "memory::",
        "before 6.4 the kernel tells no use but (key + value, rounded up to 8) × entries: PROFILES 1 MiB",
    ),
    ("reload::", "it needs nft, and a load that an emulated machine does not carry"),
    ("specification::", "millions of packets are for a machine that is not emulated"),
    ("killed::", "it was not done after four minutes, emulated"),
];

/// The kernel's modules that attaching needs, below `kernel/`.
const MODULES: &[&str] = &["drivers/net/tun.ko", "net/sched/sch_ingress.ko", "net/sched/cls_bpf.ko"];

/// The guest's first program. It always powers off, or panics and with `-no-reboot` ends: nothing waits for it.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin RUST_BACKTRACE=0 NEXA_TEST_TIER=ci
busybox mkdir -p /proc /sys /dev /tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t tmpfs tmp /tmp
busybox mount -t bpf bpf /sys/fs/bpf
for module in /modules/*.ko; do busybox insmod "$module"; done
echo "guest: Linux $(busybox uname -r)"
cd /tmp
/kernel-tests --test-threads=1 $(busybox cat /arguments) 2>&1
busybox poweroff -f
"#;

/// Makes the guest, runs it, and counts its tests.
///
/// # Errors
/// When the guest cannot be made.
pub fn run(checkout: &Checkout, tier: Tier, executables: &[Executable]) -> Result<Tally> {
    let tests = executables
        .iter()
        .find(|executable| {
            executable.package == PACKAGE && executable.kind == "test" && executable.name == "kernel"
        })
        .context("the kernel's tests were not built")?;
    let kernel = guest::kernel(checkout)?;
    let (arguments, expected) = match tier {
        Tier::Ci => {
            let names = CHOSEN.iter().map(|name| (*name).to_owned());
            (std::iter::once("--exact".to_owned()).chain(names).collect::<Vec<_>>(), Some(CHOSEN.len()))
        }
        Tier::Full => {
            for (name, reason) in LEFT_OUT {
                say(format_args!("test: not in the guest: {name} ({reason})"));
            }
            (LEFT_OUT.iter().flat_map(|(name, _)| ["--skip".to_owned(), (*name).to_owned()]).collect(), None)
        }
    };
    let initrd = make(checkout, &kernel, &tests.file, &arguments.join(" "))?;
    let guest = Program::new("timeout")
        .args(["--kill-after=5", if tier == Tier::Ci { "300" } else { "2400" }, "qemu-system-x86_64"])
        .args([
            "-accel",
            "tcg",
            "-m",
            "2048",
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(kernel.image()?)
        .arg("-initrd")
        .arg(&initrd)
        .args(["-append", "console=ttyS0 panic=-1 quiet"]);
    let tally = counted(&guest, Tally::of_harness)?;
    // A guest that dies half-way powers off as well as one that is done, and so does one without a test of that name.
    let seen = tally.passed + tally.failed;
    Ok(match expected {
        Some(expected) if seen != expected as u64 => {
            say(format_args!("test: {seen} tests of the guest's {expected} were counted"));
            tally + Tally::one(false)
        }
        None if seen == 0 => tally + Tally::one(false),
        _ => tally,
    })
}

/// Makes the initial file system: all that the guest has.
fn make(checkout: &Checkout, kernel: &Kernel, tests: &Path, arguments: &str) -> Result<PathBuf> {
    let folder = checkout.target().join("guest");
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).context("cannot remove the last guest's files")?;
    }
    for part in ["bin", "modules"] {
        fs::create_dir_all(root.join(part)).context("cannot make the guest's folders")?;
    }
    let stripped = root.join("kernel-tests");
    Program::new("strip").arg("-o").arg(&stripped).arg(tests).run()?;
    let mut linked = vec![stripped];
    for name in ["busybox", "ip", "tc"] {
        let program = which(name).with_context(|| format!("{name} is not installed"))?;
        copy(&program, &root.join("bin").join(name))?;
        if name != "busybox" {
            linked.push(program);
        }
    }
    for library in linked.iter().map(|program| libraries(program)).collect::<Result<Vec<_>>>()?.concat() {
        let target = root.join(library.strip_prefix("/").unwrap_or(&library));
        fs::create_dir_all(target.parent().context("a library at the root")?)
            .context("cannot make the folder of a library")?;
        copy(&library, &target)?;
    }
    for module in MODULES {
        let file = kernel.module(module)?;
        copy(&file, &root.join("modules").join(file.file_name().context("a module without a name")?))?;
    }
    fs::write(root.join("arguments"), arguments).context("cannot write the tests' names")?;
    let init = root.join("init");
    fs::write(&init, INIT).context("cannot write init")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("cannot mark init executable")?;
    pack(&root, &folder.join("initrd"))
}

fn pack(root: &Path, initrd: &Path) -> Result<PathBuf> {
    let status = Program::new("sh")
        .args(["-c", "find . | cpio --quiet --create --format=newc --owner=0:0"])
        .directory(root)
        .command()
        .stdin(Stdio::null())
        .stdout(File::create(initrd).with_context(|| format!("cannot write {}", initrd.display()))?)
        .status()
        .context("cannot start cpio")?;
    if !status.success() {
        bail!("cannot pack the guest's files ({status})");
    }
    Ok(initrd.to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// The libraries that a program is linked with, and its loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = Program::new("ldd").arg(program).text().context("ldd says nothing of a program")?;
    Ok(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}
