//! System packages, by apt.

use anyhow::{Result, bail};

use crate::{
    checkout::Checkout,
    program::{Program, which},
    progress::{say, step},
};

/// What the project needs of Debian: the package, and a program by which a machine that has it otherwise is known.
const PACKAGES: &[(&str, Option<&str>)] = &[
    ("build-essential", Some("cc")),
    ("pkg-config", Some("pkg-config")),
    ("ca-certificates", None),
    ("curl", Some("curl")),
    ("openssl", Some("openssl")),
    // The lab: its network, its servers, and WireGuard software that is not ours.
    ("iproute2", Some("ip")),
    ("iputils-ping", Some("ping")),
    ("procps", Some("sysctl")),
    ("nftables", Some("nft")),
    ("tcpdump", Some("tcpdump")),
    ("iperf3", Some("iperf3")),
    ("nginx-light", Some("nginx")),
    ("dnsmasq-base", Some("dnsmasq")),
    ("wireguard-go", Some("wireguard-go")),
    ("wireguard-tools", Some("wg")),
    ("postgresql-15", None),
    // The guest with the oldest kernel that is supported.
    ("qemu-system-x86", Some("qemu-system-x86_64")),
    ("busybox-static", None),
    ("cpio", Some("cpio")),
    // The eBPF compiler with its prebuilt core, and what bpf-linker links.
    ("rustc-web", None),
    ("libstd-rust-web-dev-bpf", None),
    ("llvm-22-dev", None),
    ("libpolly-22-dev", None),
    ("zlib1g-dev", None),
    ("libzstd-dev", None),
    ("libxml2-dev", None),
];

/// Keeps the packages from starting services and from making a system-wide Postgres cluster, while they install
/// only: the lab runs its own servers in its own namespaces. Two checkouts that are set up at once take turns. Files that an administrator put there stay; in place of
/// one that was made for the time being comes the package's own.
const QUIET_INSTALL: &str = r#"
set -eu
exec 9> /run/lock/nexavpn-setup
flock 9
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf
made_policy="" made_cluster=""
restore() {
    [ -z "$made_policy" ] || rm -f "$policy"
    if [ -n "$made_cluster" ]; then
        rm -f "$cluster" "$cluster.ucf-dist"
        cp /usr/share/postgresql-common/createcluster.conf "$cluster" 2>/dev/null || true
    fi
}
trap restore EXIT
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
if [ ! -e "$cluster" ]; then
    made_cluster=yes
    mkdir -p "${cluster%/*}"
    printf 'create_main_cluster = false\n' > "$cluster"
fi
export UCF_FORCE_CONFFOLD=1
export DEBIAN_FRONTEND=noninteractive
wait='DPkg::Lock::Timeout=600'
apt-get -o "$wait" update
nginx_was=$(command -v nginx || true)
apt-get -o "$wait" install --yes --no-install-recommends "$@"
if [ -z "$nginx_was" ] && [ -d /run/systemd/system ]; then
    systemctl disable --quiet nginx.service || true
fi
"#;

/// Installs the packages that are missing.
///
/// # Errors
/// When packages are missing and apt is not there or fails.
pub fn install(checkout: &Checkout) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        say("setup: system packages are there");
        return Ok(());
    }
    if which("apt-get").is_none() {
        bail!("these packages are missing, and there is no apt to install them: {}", missing.join(" "));
    }
    step(format_args!("setup: installing system packages: {}", missing.join(" ")), || {
        Program::new("sh")
            .args(["-c", QUIET_INSTALL, "install"])
            .args(&missing)
            .root()?
            .run_logged(&checkout.logs().join("apt.log"))
    })
}

/// Names of the packages that are not installed.
fn missing() -> Vec<&'static str> {
    let names: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).collect();
    // dpkg-query fails as soon as one name is unknown to it, yet lists the others.
    let listed = Program::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(&names)
        .command()
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let installed = |name: &str| listed.lines().any(|line| line == format!("{name} installed"));
    PACKAGES
        .iter()
        .filter(|(name, program)| !installed(name) && program.is_none_or(|program| which(program).is_none()))
        .map(|(name, _)| *name)
        .collect()
}
