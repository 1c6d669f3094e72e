//! The same policy as rules of nftables, in several forms.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    io::Write as _,
    net::IpAddr,
    process::Stdio,
};

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;
use nexa_lab::namespace::Namespace;
use nexa_types::Cidr;
use nexa_wire::snapshot::Snapshot;

use super::{
    entries::{Entries, Entry, Who},
    frame::protocol_and_ports,
};

/// Table of all forms.
const TABLE: &str = "bench";
/// Counter of packets on connections that are known.
pub(super) const KNOWN: &str = "known";
/// Counter of packets that a rule speaks of.
pub(super) const HIT: &str = "hit";
/// Counter of packets that none speaks of.
pub(super) const MISS: &str = "miss";

/// How rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// One rule for each destination of each rule of the policy, one after the other.
    Linear,
    /// A verdict map from the source to its groups' chain, which asks a set of destinations, protocols and ports.
    VerdictMap,
    /// The same with a set for each protocol.
    ByProtocol,
}

/// Where rules are asked, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// As early as nftables can, right behind the programs of TC; what a rule speaks of is dropped.
    Ingress,
    /// Where packets are forwarded; what is known to conntrack is accepted first, and then what a rule speaks of.
    ForwardWithConntrack,
}

/// IP versions, as names of sets end.
const FAMILIES: [(&str, &str, &str); 2] = [("4", "ip", "ipv4_addr"), ("6", "ip6", "ipv6_addr")];

/// The rules as text.
pub(super) fn rules(snapshot: &Snapshot, entries: &Entries, form: Form, hook: Hook) -> Result<String> {
    let mut body = String::new();
    let accept = hook == Hook::ForwardWithConntrack;
    let verdict = if accept { "accept" } else { "drop" };
    for counter in [KNOWN, HIT, MISS] {
        writeln!(body, "counter {counter} {{ }}")?;
    }
    writeln!(body, "chain hit {{ counter name {HIT} {verdict}; }}")?;
    writeln!(body, "chain miss {{ counter name {MISS} drop; }}")?;
    private(&mut body, snapshot, entries)?;
    match form {
        Form::Linear => linear(&mut body, snapshot, entries)?,
        Form::VerdictMap => verdict_map(&mut body, snapshot, entries)?,
        Form::ByProtocol => by_protocol(&mut body, snapshot, entries)?,
    }
    Ok(match hook {
        Hook::Ingress => format!(
            "table netdev {TABLE} {{\n{body}chain base {{ type filter hook ingress device \"in\" priority 0; policy drop;\n\
             meta protocol vmap {{ ip : goto v4, ip6 : goto v6 }}\n}}\n}}\n"
        ),
        Hook::ForwardWithConntrack => format!(
            "table inet {TABLE} {{\n{body}chain base {{ type filter hook forward priority 0; policy drop;\n\
             ct state established counter name {KNOWN} accept\n\
             meta nfproto vmap {{ ipv4 : goto v4, ipv6 : goto v6 }}\n}}\n}}\n"
        ),
    })
}

/// Rules that drop everything at the hook of [`Hook::Ingress`]: what is to be subtracted.
pub(super) fn floor() -> String {
    format!(
        "table netdev {TABLE} {{\ncounter {MISS} {{ }}\n\
         chain base {{ type filter hook ingress device \"in\" priority 0; counter name {MISS} drop; }}\n}}\n"
    )
}

/// What only single peers may do: exact addresses and ports, hence a hash.
fn private(body: &mut String, snapshot: &Snapshot, entries: &Entries) -> Result<()> {
    for (suffix, _, address) in FAMILIES {
        let mut elements = Vec::new();
        let mut interval = false;
        for (peer, entry) in entries.private().filter(|(_, entry)| is_of(entry.cidr, suffix)) {
            let source = source(snapshot, peer, suffix);
            let (protocol, ports) = protocol_and_ports(entry.traffic)?;
            interval |= ports.0 != ports.1 || entry.cidr != Cidr::host(entry.cidr.net().addr());
            elements.push(format!("{source} . {} . {protocol} . {}", prefix(entry.cidr), range(ports)));
        }
        let key = format!("{address} . {address} . inet_proto . inet_service");
        set(body, &format!("private{suffix}"), &key, interval, &elements)?;
    }
    Ok(())
}

fn verdict_map(body: &mut String, snapshot: &Snapshot, entries: &Entries) -> Result<()> {
    for (number, groups) in entries.combinations.keys().enumerate() {
        for (suffix, protocol, address) in FAMILIES {
            let elements: Vec<String> = disjoint(entries, groups, suffix)?.iter().map(Piece::text).collect();
            set(
                body,
                &format!("s{number}v{suffix}"),
                &format!("{address} . inet_proto . inet_service"),
                true,
                &elements,
            )?;
            writeln!(
                body,
                "chain g{number}v{suffix} {{\n{protocol} daddr . meta l4proto . th dport @s{number}v{suffix} goto hit\n{}",
                last(suffix, protocol),
            )?;
        }
    }
    peers(body, snapshot, entries)
}

/// From a source to its groups' chain.
fn peers(body: &mut String, snapshot: &Snapshot, entries: &Entries) -> Result<()> {
    for (suffix, protocol, address) in FAMILIES {
        let goto = |peer: usize, number: usize| {
            format!("{} : goto g{number}v{suffix}", source(snapshot, peer, suffix))
        };
        let elements = of_peers(entries, goto).join(",\n");
        writeln!(body, "map peers{suffix} {{ type {address} : verdict; elements = {{ {elements} }} }}")?;
        writeln!(body, "chain v{suffix} {{ {protocol} saddr vmap @peers{suffix}; goto miss; }}")?;
    }
    Ok(())
}

/// As [`verdict_map`], with a set for each protocol, so that sets have a field less.
fn by_protocol(body: &mut String, snapshot: &Snapshot, entries: &Entries) -> Result<()> {
    for (number, groups) in entries.combinations.keys().enumerate() {
        for (suffix, protocol, address) in FAMILIES {
            let pieces = disjoint(entries, groups, suffix)?;
            let mut branches = Vec::new();
            for (transport, iana) in [("tcp", 6), ("udp", 17)] {
                let elements: Vec<String> = pieces
                    .iter()
                    .filter(|piece| piece.protocol == iana)
                    .map(|piece| format!("{} . {}", prefix(piece.cidr), range(piece.ports)))
                    .collect();
                let name = format!("{number}v{suffix}{transport}");
                set(body, &format!("s{name}"), &format!("{address} . inet_service"), true, &elements)?;
                writeln!(
                    body,
                    "chain g{name} {{\n{protocol} daddr . {transport} dport @s{name} goto hit\n{}",
                    last(suffix, protocol),
                )?;
                branches.push(format!("{transport} : goto g{name}"));
            }
            let branches = branches.join(", ");
            writeln!(body, "chain g{number}v{suffix} {{ meta l4proto vmap {{ {branches} }}; goto miss; }}")?;
        }
    }
    peers(body, snapshot, entries)
}

fn linear(body: &mut String, snapshot: &Snapshot, entries: &Entries) -> Result<()> {
    let mut numbers = HashMap::new();
    for (suffix, protocol, address) in FAMILIES {
        let mut lines = String::new();
        for entry in entries.all.iter().filter(|entry| is_of(entry.cidr, suffix)) {
            let who = match entry.who {
                // Those are in one set, asked first: in a line each they would be most of the lines.
                Who::Peer(_) => continue,
                Who::Everyone => String::new(),
                Who::Group(group) => {
                    let next = numbers.len();
                    let number = *numbers.entry(group).or_insert(next);
                    format!("{protocol} saddr @g{number}v{suffix} ")
                }
            };
            let (number, ports) = protocol_and_ports(entry.traffic)?;
            let name = if number == 6 { "tcp" } else { "udp" };
            writeln!(
                lines,
                "{who}{protocol} daddr {} {name} dport {} goto hit",
                prefix(entry.cidr),
                range(ports)
            )?;
        }
        for (group, number) in &numbers {
            let of = entries.combinations.iter().filter(|(groups, _)| groups.contains(group));
            let elements: Vec<String> = of
                .flat_map(|(_, peers)| peers)
                .map(|peer| source(snapshot, *peer, suffix).to_string())
                .collect();
            set(body, &format!("g{number}v{suffix}"), address, false, &elements)?;
        }
        let before = last(suffix, protocol);
        let before = before.lines().next().context("a line")?;
        writeln!(body, "chain v{suffix} {{\n{before}\n{lines}goto miss\n}}")?;
    }
    Ok(())
}

/// The end of a chain: what only the peer itself may do, and nothing else.
fn last(suffix: &str, protocol: &str) -> String {
    format!(
        "{protocol} saddr . {protocol} daddr . meta l4proto . th dport @private{suffix} goto hit\ngoto miss\n}}"
    )
}

fn of_peers(entries: &Entries, text: impl Fn(usize, usize) -> String) -> Vec<String> {
    let combinations = entries.combinations.values().enumerate();
    combinations
        .flat_map(|(number, peers)| peers.iter().map(move |peer| (*peer, number)))
        .map(|(peer, number)| text(peer, number))
        .collect()
}

fn set(body: &mut String, name: &str, key: &str, interval: bool, elements: &[String]) -> Result<()> {
    let flags = if interval { "flags interval; " } else { "" };
    write!(body, "set {name} {{ type {key}; {flags}")?;
    if !elements.is_empty() {
        write!(body, "elements = {{ {} }} ", elements.join(",\n"))?;
    }
    writeln!(body, "}}")?;
    Ok(())
}

/// Destinations, a protocol and ports.
struct Piece {
    cidr: Cidr,
    protocol: u8,
    ports: (u16, u16),
}

impl Piece {
    fn text(&self) -> String {
        format!("{} . {} . {}", prefix(self.cidr), self.protocol, range(self.ports))
    }
}

/// What a combination of groups is spoken of, without repetition: sets of nftables refuse elements that lie in
/// others. From the widest prefix to the narrowest, each loses the ports that those around it have.
fn disjoint(entries: &Entries, groups: &BTreeSet<nexa_types::GroupId>, suffix: &str) -> Result<Vec<Piece>> {
    let mut spoken: Vec<&Entry> =
        entries.shared_by(groups).filter(|entry| is_of(entry.cidr, suffix)).collect();
    spoken.sort_by_key(|entry| entry.cidr.net().prefix_len());
    let lengths: BTreeSet<u8> = spoken.iter().map(|entry| entry.cidr.net().prefix_len()).collect();
    let mut taken: BTreeMap<(Cidr, u8), Vec<(u16, u16)>> = BTreeMap::new();
    let mut pieces = Vec::new();
    for entry in spoken {
        let (protocol, ports) = protocol_and_ports(entry.traffic)?;
        let net = entry.cidr.net();
        let mut left = vec![ports];
        for length in lengths.iter().filter(|length| **length <= net.prefix_len()) {
            let around = Cidr::new(IpNet::new(net.addr(), *length)?.trunc())?;
            for (first, last) in taken.get(&(around, protocol)).into_iter().flatten() {
                left = left.iter().flat_map(|ports| without(*ports, (*first, *last))).collect();
            }
        }
        for ports in left {
            taken.entry((entry.cidr, protocol)).or_default().push(ports);
            pieces.push(Piece { cidr: entry.cidr, protocol, ports });
        }
    }
    Ok(pieces)
}

/// What is left of ports.
fn without(ports: (u16, u16), taken: (u16, u16)) -> Vec<(u16, u16)> {
    if taken.1 < ports.0 || ports.1 < taken.0 {
        return vec![ports];
    }
    let below = (ports.0 < taken.0).then(|| (ports.0, taken.0 - 1));
    let above = (taken.1 < ports.1).then(|| (taken.1 + 1, ports.1));
    below.into_iter().chain(above).collect()
}

fn is_of(cidr: Cidr, suffix: &str) -> bool {
    cidr.net().addr().is_ipv4() == (suffix == "4")
}

fn source(snapshot: &Snapshot, peer: usize, suffix: &str) -> IpAddr {
    let peer = &snapshot.peers[peer];
    if suffix == "4" { peer.v4.into() } else { peer.v6.into() }
}

fn prefix(cidr: Cidr) -> String {
    let net = cidr.net();
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn range(ports: (u16, u16)) -> String {
    if ports.0 == ports.1 { ports.0.to_string() } else { format!("{}-{}", ports.0, ports.1) }
}

/// Loads rules into a namespace.
pub(super) fn load(namespace: &Namespace, rules: &str) -> Result<()> {
    let mut nft = namespace
        .command("nft")?
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start nft: install nftables")?;
    nft.stdin.take().context("no input")?.write_all(rules.as_bytes()).context("cannot write to nft")?;
    let output = nft.wait_with_output().context("cannot wait for nft")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("nft: {}", said.lines().take(5).collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

/// Packets of the counters of a namespace, by name.
pub(super) fn counters(namespace: &Namespace) -> Result<HashMap<String, u64>> {
    let output =
        namespace.command("nft")?.args(["-j", "list", "counters"]).output().context("cannot start nft")?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).context("nft wrote no JSON")?;
    let objects = listed["nftables"].as_array().context("nft lists nothing")?;
    let counters = objects.iter().filter_map(|object| {
        let counter = &object["counter"];
        Some((counter["name"].as_str()?.to_owned(), counter["packets"].as_u64()?))
    });
    Ok(counters.collect())
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn of_ports_is_left_what_is_not_taken() {
        assert_eq!(without((10, 20), (21, 30)), [(10, 20)]);
        assert_eq!(without((10, 20), (12, 15)), [(10, 11), (16, 20)]);
        assert_eq!(without((10, 20), (5, 15)), [(16, 20)]);
        assert_eq!(without((10, 20), (10, 20)), []);
    }
}
