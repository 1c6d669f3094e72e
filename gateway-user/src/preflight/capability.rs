//! Capabilities of this process.

use std::fs;

use nexa_wire::doctor::Finding;

/// `CAP_NET_ADMIN` of the kernel's `uapi/linux/capability.h`.
pub const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// The effective set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective(u64);

impl Effective {
    /// Reads the calling thread's set; empty if the kernel does not say.
    pub fn of_this_thread() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Self(parse(&status).unwrap_or_default())
    }

    /// Whether capability `number` is in it.
    pub const fn has(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }

    /// Whether a file system may be mounted.
    pub const fn may_mount(self) -> bool {
        self.has(SYS_ADMIN)
    }
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

pub(super) fn findings(effective: &Effective) -> Vec<Finding> {
    let needs = [
        ("CAP_NET_ADMIN", "interfaces, routes and nft", [NET_ADMIN, NET_ADMIN]),
        ("CAP_BPF", "loading the policy programs", [BPF, SYS_ADMIN]),
        ("CAP_PERFMON", "programs without Spectre hardening on every map access", [PERFMON, SYS_ADMIN]),
    ];
    let finding = |(name, purpose, any_of): (&str, &str, [u32; 2])| {
        let check = name.to_lowercase().replace('_', "-");
        if any_of.iter().any(|&number| effective.has(number)) {
            return Finding::ok(&check, name, purpose);
        }
        Finding::problem(
            &check,
            name,
            format!("this process lacks it ({purpose})"),
            format!(
                "run as root, with systemd `AmbientCapabilities={name}`, or in a container with `--cap-add {}`",
                &name[4..]
            ),
        )
    };
    needs.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(capabilities: u64) -> Vec<String> {
        let findings = findings(&Effective(capabilities));
        findings.into_iter().filter(|finding| finding.is_problem()).map(|finding| finding.title).collect()
    }

    #[test]
    fn each_missing_capability_is_named() {
        assert_eq!(missing(0), ["CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(1 << NET_ADMIN | 1 << BPF), ["CAP_PERFMON"]);
        assert_eq!(missing(1 << NET_ADMIN | 1 << BPF | 1 << PERFMON), [""; 0]);
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon_but_not_for_net_admin() {
        assert_eq!(missing(1 << SYS_ADMIN), ["CAP_NET_ADMIN"]);
    }

    #[test]
    fn the_kernel_s_line_is_read() {
        assert_eq!(parse("Name:\tx\nCapPrm:\t0\nCapEff:\t000001fffeffffff\n"), Some(0x01ff_feff_ffff));
        assert_eq!(parse("CapEff:\tnothing\n"), None);
    }
}
