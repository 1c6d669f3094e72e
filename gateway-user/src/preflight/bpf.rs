//! Kernel features for the programs, and the folder that they are pinned in.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use nix::mount::MsFlags;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use nexa_wire::doctor::Finding;

/// The first kernel whose verifier is known to take the programs: Debian 12's.
const FIRST_SUPPORTED: (u32, u32) = (6, 1);

/// The first kernel with TCX: programs on wg0 that are links, so that they can be pinned. Before, they are filters.
const FIRST_WITH_TCX: (u32, u32) = (6, 6);

pub(super) fn kernel_version() -> Finding {
    const CHECK: &str = "kernel-version";
    const NEED: &str = "kernel 6.1 or newer";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match parse_release(release) {
        Some(version) if version >= FIRST_WITH_TCX => {
            Finding::ok(CHECK, NEED, format!("this is {release}; the programs are TCX links"))
        }
        Some(version) if version >= FIRST_SUPPORTED => {
            Finding::ok(CHECK, NEED, format!("this is {release}; the programs are clsact filters"))
        }
        _ => Finding::problem(
            CHECK,
            NEED,
            format!("this is `{release}`"),
            "install a newer kernel, for example Debian 12's, and restart",
        ),
    }
}

pub(super) fn type_information() -> Finding {
    const CHECK: &str = "kernel-btf";
    const NEED: &str = "kernel type information (BTF)";
    match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(_) => Finding::ok(CHECK, NEED, "/sys/kernel/btf/vmlinux"),
        Err(error) => Finding::problem(
            CHECK,
            NEED,
            format!("/sys/kernel/btf/vmlinux: {error}"),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of Debian are, and mount sysfs at /sys",
        ),
    }
}

pub(super) fn pin_dir(pin_dir: &Path, may_mount: bool) -> Finding {
    const CHECK: &str = "bpf-filesystem";
    const NEED: &str = "BPF file system";
    let shown = pin_dir.display();
    match is_on_bpffs(pin_dir) {
        Ok(true) => Finding::ok(CHECK, NEED, format!("{shown} is on one")),
        Ok(false) if may_mount => {
            Finding::ok(CHECK, NEED, format!("will be mounted at {}", mount_point(pin_dir).display()))
        }
        Ok(false) => Finding::problem(CHECK, NEED, format!("{shown} is not on one"), mount_remedy(pin_dir)),
        Err(error) => Finding::problem(CHECK, NEED, format!("{shown}: {error}"), mount_remedy(pin_dir)),
    }
}

/// Makes sure that `pin_dir` exists on a BPF file system, mounting one at its parent if need be, in the mount
/// namespace of this process.
///
/// # Errors
/// When there is none and none can be mounted.
pub fn mount_pin_dir(pin_dir: &Path) -> anyhow::Result<()> {
    if !is_on_bpffs(pin_dir).unwrap_or(false) {
        let point = mount_point(pin_dir);
        fs::create_dir_all(point).with_context(|| format!("cannot make {}", point.display()))?;
        let mounted = nix::mount::mount(Some("bpf"), point, Some("bpf"), MsFlags::empty(), Some("mode=0700"));
        mounted.with_context(|| {
            format!("cannot mount a BPF file system at {}; {}", point.display(), mount_remedy(pin_dir))
        })?;
        if mount_namespace("self") != mount_namespace("1") {
            tracing::warn!(
                "the BPF file system at {} was mounted in a mount namespace of its own: pinned programs last as long as \
                 that namespace. To let them outlive the daemon, mount it on the host and pass it in",
                point.display()
            );
        }
    }
    match fs::create_dir(pin_dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {}", pin_dir.display()))
        }
        _ => Ok(()),
    }
}

/// The folder itself, or what exists of the way to it.
fn is_on_bpffs(pin_dir: &Path) -> io::Result<bool> {
    for folder in pin_dir.ancestors().take(2) {
        match statfs(folder) {
            Ok(found) => return Ok(found.filesystem_type() == BPF_FS_MAGIC),
            Err(nix::Error::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn mount_point(pin_dir: &Path) -> &Path {
    pin_dir.parent().unwrap_or(pin_dir)
}

fn mount_remedy(pin_dir: &Path) -> String {
    format!(
        "run `mount -t bpf bpf {}` on the host, or choose another --pin-dir",
        mount_point(pin_dir).display()
    )
}

fn mount_namespace(process: &str) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/mnt")).ok()
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert_eq!(parse_release("6.18.44-fc-v657"), Some((6, 18)));
        assert!(parse_release("6.6.0").unwrap() >= FIRST_WITH_TCX);
        assert!(parse_release("6.1.0-18-amd64").unwrap() < FIRST_WITH_TCX);
        assert!(parse_release("10.0-rc1").unwrap() > FIRST_WITH_TCX);
        assert_eq!(parse_release("unknown"), None);
    }

    #[test]
    fn a_folder_elsewhere_is_missing_with_the_way_to_mount_it() {
        let folder = tempfile::tempdir().unwrap();
        let pins = folder.path().join("bpf/nexavpn");
        let finding = pin_dir(&pins, false);
        let text = finding.to_string();
        assert!(text.starts_with('✗') && text.contains("mount -t bpf bpf"), "{text}");
        assert!(!pin_dir(&pins, true).is_problem());
    }
}
