//! Files and settings of the host.

use std::fs::{self, OpenOptions};
use std::path::Path;

use nexa_config::others_may_read;
use nexa_wire::doctor::Finding;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use crate::config::Token;

/// What a few snapshots of 10,000 peers need.
const ROOM_BYTES: u64 = 16 << 20;

/// In its strictest form lockdown forbids what the programs and their maps need.
pub fn lockdown() -> Finding {
    const CHECK: &str = "kernel-lockdown";
    const TITLE: &str = "kernel lockdown";
    match fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(text) if text.contains("[confidentiality]") => Finding::problem(
            CHECK,
            TITLE,
            "confidentiality, which forbids BPF programs to read memory",
            "start the kernel with `lockdown=integrity` in place of `lockdown=confidentiality`",
        ),
        Ok(text) => {
            let chosen = text.split(['[', ']']).nth(1).unwrap_or("none");
            Finding::ok(CHECK, TITLE, chosen)
        }
        Err(_) => Finding::ok(CHECK, TITLE, "this kernel has none, or securityfs is not mounted"),
    }
}

/// `run` turns forwarding on; it must be allowed to.
pub fn forwarding() -> Finding {
    const CHECK: &str = "ip-forward";
    const TITLE: &str = "IP forwarding";
    const FILES: [&str; 2] = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];
    let is_on = |file: &str| fs::read_to_string(file).is_ok_and(|value| value.trim() == "1");
    let refused = FILES.into_iter().filter(|file| !is_on(file)).find_map(|file| {
        let error = OpenOptions::new().write(true).open(file).err()?;
        Some(format!("{file}: {error}"))
    });
    match refused {
        None if FILES.into_iter().all(is_on) => Finding::ok(CHECK, TITLE, "on"),
        None => Finding::ok(CHECK, TITLE, "off; `run` turns it on"),
        Some(found) => Finding::problem(
            CHECK,
            TITLE,
            found,
            "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1   # for a container: --sysctl with each",
        ),
    }
}

/// The folder that a restart lives on.
pub fn state_dir(folder: Option<&Path>) -> Vec<Finding> {
    const CHECK: &str = "state-dir";
    const TITLE: &str = "state folder";
    let Some(folder) = folder else {
        return vec![Finding::skipped(CHECK, TITLE, "`state_dir` is not set; `run` needs it")];
    };
    // `run` makes what is missing of the way to it.
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let shown = existing.display();
    if let Err(error) = access(existing, AccessFlags::W_OK | AccessFlags::X_OK) {
        let remedy =
            format!("install -d -m 700 {0}   # as the user of the gateway may write it", folder.display());
        return vec![Finding::problem(CHECK, TITLE, format!("{shown} cannot be written: {error}"), remedy)];
    }
    let free = statvfs(existing).map(|found| found.blocks_available() * found.fragment_size());
    vec![match free {
        Ok(free) if free < ROOM_BYTES => Finding::problem(
            CHECK,
            TITLE,
            format!("{shown} has {} MiB free; the gateway wants {}", free >> 20, ROOM_BYTES >> 20),
            format!("df -h {shown}   # make room there, or choose another --state-dir"),
        ),
        Ok(free) => Finding::ok(CHECK, TITLE, format!("{shown} can be written, {} MiB free", free >> 20)),
        Err(error) => Finding::skipped(CHECK, TITLE, format!("{shown}: {error}")),
    }]
}

/// Without it the control plane lets nobody in.
pub fn token(token: &Token) -> Finding {
    const CHECK: &str = "token";
    const TITLE: &str = "token";
    let Some(source) = token.source() else {
        return Finding::skipped(CHECK, TITLE, "neither `token` nor `token_file` is set; `run` needs one");
    };
    if let Err(error) = source.read() {
        let remedy = "make a token for this gateway in the console or with POST /api/v1/gateways/<id>/token, and write \
                      it to that file";
        return Finding::problem(CHECK, TITLE, error.to_string(), remedy);
    }
    match source.file() {
        Some(file) if others_may_read(file) => Finding::warning(
            CHECK,
            TITLE,
            format!("every user of this host can read {}", file.display()),
            format!("chmod o-r {}", file.display()),
        ),
        Some(file) => Finding::ok(CHECK, TITLE, format!("in {}", file.display())),
        None => Finding::ok(CHECK, TITLE, "set, hidden"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_state_folder_that_is_not_there_yet_is_judged_by_what_is() {
        let folder = tempfile::tempdir().unwrap();
        let [finding] = &state_dir(Some(&folder.path().join("a/b")))[..] else { panic!() };
        assert!(!finding.is_problem() && finding.found.contains("MiB free"), "{finding}");
        let [finding] = &state_dir(Some(Path::new("/proc/nothing")))[..] else { panic!() };
        assert!(finding.is_problem(), "{finding}");
    }

    #[test]
    fn a_token_file_must_hold_one_and_only_its_owner_should_read_it() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            token: Token,
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let look = || token(&Line::parse_from(["x", "--token-file", file.to_str().unwrap()]).token);
        assert!(look().is_problem());
        fs::write(&file, "a-token\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(look().remedy.unwrap(), format!("chmod o-r {}", file.display()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(look().remedy, None);
    }
}
