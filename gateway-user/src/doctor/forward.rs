//! Chains of others that drop what the gateway forwards. Our accept cannot overrule another chain's drop, so it has to
//! be changed where it is.

use std::path::Path;
use std::process::Command;

use nexa_wire::doctor::Finding;

use super::ruleset::{Chain, Ruleset};
use super::walk::{Direction, Fate, Packets, fate};
use crate::config::InterfaceName;

pub const CHECK: &str = "forward-drop";
pub const TITLE: &str = "forwarding";

/// Looks at every chain that forwarded packets meet.
pub fn look(ruleset: &Ruleset, interface: &InterfaceName) -> Vec<Finding> {
    let bases: Vec<_> = ruleset.base_chains.iter().filter(|base| base.hook == "forward").collect();
    let mut findings = Vec::new();
    for base in &bases {
        let fates = [Direction::Out, Direction::Back]
            .map(|direction| fate(ruleset, base, Packets { interface: interface.as_str(), direction }));
        findings.extend(finding(ruleset, &base.chain, fates, interface));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            TITLE,
            match bases.len() {
                0 => "no other table looks at forwarded packets".to_owned(),
                number => {
                    format!("none of {number} chains of others drops what comes from or goes to {interface}")
                }
            },
        ));
    }
    findings
}

fn finding(
    ruleset: &Ruleset,
    base: &Chain,
    [out, back]: [Fate; 2],
    interface: &InterfaceName,
) -> Option<Finding> {
    let words = |what: &str, place: &str| format!("{what} {interface} is dropped in {place}");
    match (&out, &back) {
        (Fate::Drops(place), _) => {
            let remedy = remedy(ruleset, base, interface, iptables(base));
            Some(Finding::problem(CHECK, TITLE, words("what comes from", place), remedy))
        }
        (_, Fate::Drops(place)) => {
            let remedy = remedy(ruleset, base, interface, iptables(base));
            Some(Finding::problem(CHECK, TITLE, words("what answers to", place), remedy))
        }
        (Fate::SomeDrop(places), _) | (Fate::Passes, Fate::SomeDrop(places)) => Some(Finding::warning(
            CHECK,
            TITLE,
            format!("some of what passes {interface} may be dropped in {}", places.join(", ")),
            format!("nft list chain {base}   # is that meant for the VPN too?"),
        )),
        (Fate::Passes, Fate::Passes) => None,
    }
}

/// The program that the owner of a chain would use, where it is installed.
fn iptables(chain: &Chain) -> Option<&'static str> {
    let program = if chain.family == "ip6" { "ip6tables" } else { "iptables" };
    is_installed(program).then_some(program)
}

/// Lines for a shell, for whoever made the chain.
fn remedy(ruleset: &Ruleset, base: &Chain, interface: &InterfaceName, iptables: Option<&str>) -> String {
    let Chain { family, table, name } = base;
    if table == "firewalld" {
        return format!(
            "firewall-cmd --permanent --zone=trusted --add-interface={interface}\nfirewall-cmd --reload"
        );
    }
    let prefix = if family == "ip6" { "ufw6" } else { "ufw" };
    if ruleset.has(family, table, &format!("{prefix}-user-forward")) {
        // Its own rules let answers through.
        return format!("ufw route allow in on {interface}");
    }
    // Docker puts its own chains back in front of FORWARD whenever it starts, but leaves this one to others.
    let is_docker = ruleset.has(family, table, "DOCKER-USER");
    let target = if is_docker { "DOCKER-USER" } else { name };
    let (lines, keep) = match iptables {
        // Into the tunnel our own guard admits answers only.
        Some(program) if table == "filter" => (
            format!(
                "{program} -I {target} -i {interface} -j ACCEPT\n{program} -I {target} -o {interface} -j ACCEPT"
            ),
            "apt install iptables-persistent && netfilter-persistent save",
        ),
        _ => (
            format!(
                "nft insert rule {family} {table} {target} iifname '\"{interface}\"' accept\n\
                 nft insert rule {family} {table} {target} oifname '\"{interface}\"' ct state established,related accept"
            ),
            "add the same two rules to /etc/nftables.conf, or to what else makes that table",
        ),
    };
    format!("{lines}\n# to keep them over a restart: {keep}")
}

/// Tables of the old kernel interface are invisible to nft.
pub fn look_at_legacy(interface: &InterfaceName) -> Vec<Finding> {
    let families = [("/proc/net/ip_tables_names", "iptables"), ("/proc/net/ip6_tables_names", "ip6tables")];
    let look = |(names, program): (&str, &str)| {
        let tables = std::fs::read_to_string(names).unwrap_or_default();
        if !tables.lines().any(|table| table == "filter") {
            return None;
        }
        let legacy = format!("{program}-legacy");
        let output = Command::new(&legacy).args(["-S", "FORWARD"]).output();
        match output {
            Ok(output) if output.status.success() => {
                legacy_finding(&String::from_utf8_lossy(&output.stdout), &legacy, interface)
            }
            _ => Some(Finding::warning(
                CHECK,
                TITLE,
                format!("there is a table of {legacy}, which cannot be listed"),
                format!("{legacy} -S FORWARD   # does it drop what comes from {interface}?"),
            )),
        }
    };
    families.into_iter().filter_map(look).collect()
}

fn legacy_finding(listing: &str, legacy: &str, interface: &InterfaceName) -> Option<Finding> {
    let drops = listing.lines().any(|line| line == "-P FORWARD DROP");
    let admits = |flag: &str| {
        let start = format!("-A FORWARD {flag} {interface} ");
        listing.lines().any(|line| line.starts_with(&start) && line.ends_with("-j ACCEPT"))
    };
    (drops && !(admits("-i") && admits("-o"))).then(|| {
        Finding::problem(
            CHECK,
            TITLE,
            format!("what comes from {interface} is dropped in FORWARD of {legacy} (policy drop)"),
            format!(
                "{legacy} -I FORWARD -i {interface} -j ACCEPT\n{legacy} -I FORWARD -o {interface} -j ACCEPT"
            ),
        )
    })
}

fn is_installed(program: &str) -> bool {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).is_file())
}

#[cfg(test)]
mod tests;
