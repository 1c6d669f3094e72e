//! The guard's text. Pure: a [`Spec`] in, an nft script out.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use nexa_types::Cidr;
use nexa_wire::snapshot::Network;

use crate::config::InterfaceName;
use nexa_abi::{MARK_ALLOWED, MARK_MASK};

/// The table's name, in family inet.
pub const TABLE: &str = "nexavpn";

/// What the guard protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The tunnel's interface.
    pub interface: InterfaceName,
    /// The bits of a packet's mark that the program owns.
    pub mark_mask: u32,
    /// Their value on packets that the program let in.
    pub mark_allowed: u32,
    /// The tunnel's addresses; without any, nothing passes from or to the interface.
    pub addresses: Option<TunnelAddresses>,
}

impl Spec {
    /// A guard for `interface` with our mark.
    pub const fn new(interface: InterfaceName, addresses: Option<TunnelAddresses>) -> Self {
        Self { interface, mark_mask: MARK_MASK, mark_allowed: MARK_ALLOWED, addresses }
    }

    /// A guard that uses every expression there is, to see whether a kernel takes them. Its addresses are those that
    /// RFC 5737 and RFC 3849 set aside for documents.
    pub fn with_everything(interface: &InterfaceName) -> Self {
        let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        let addresses = TunnelAddresses {
            pool_v4: Cidr::host(v4.into()),
            pool_v6: Cidr::host(v6.into()),
            tunnel_v4: v4,
            tunnel_v6: v6,
            proxy_v4: Some(v4),
            proxy_v6: Some(v6),
        };
        Self::new(interface.clone(), Some(addresses))
    }
}

/// The addresses inside the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelAddresses {
    /// Devices' IPv4 addresses.
    pub pool_v4: Cidr,
    /// Devices' IPv6 addresses.
    pub pool_v6: Cidr,
    /// The gateway's own, with tunnel DNS.
    pub tunnel_v4: Ipv4Addr,
    /// The gateway's own, with tunnel DNS.
    pub tunnel_v6: Ipv6Addr,
    /// The access proxy's, if there is one.
    pub proxy_v4: Option<Ipv4Addr>,
    /// The access proxy's, if there is one.
    pub proxy_v6: Option<Ipv6Addr>,
}

impl From<&Network> for TunnelAddresses {
    fn from(network: &Network) -> Self {
        Self {
            pool_v4: network.pool_v4,
            pool_v6: network.pool_v6,
            tunnel_v4: network.tunnel_v4,
            tunnel_v6: network.tunnel_v6,
            proxy_v4: network.proxy_v4,
            proxy_v6: network.proxy_v6,
        }
    }
}

/// A transaction that replaces the table's rules and keeps its chains, so that no hook is ever absent.
pub fn fill(spec: &Spec) -> String {
    format!("add table inet {TABLE}\nflush table inet {TABLE}\n{}", table(spec))
}

/// A transaction that replaces the table with everything in it, chains of strangers too.
pub fn rebuild(spec: &Spec) -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n{}", table(spec))
}

/// Every chain has policy accept: the hooks see all of the host's traffic, and a chain that is new in a
/// transaction applies its policy before its rules are live.
fn table(spec: &Spec) -> String {
    let wg = format!("\"{}\"", spec.interface);
    let unmarked = format!("meta mark & {:#010x} != {:#010x}", spec.mark_mask, spec.mark_allowed);
    let marked = format!("meta mark & {:#010x} == {:#010x}", spec.mark_mask, spec.mark_allowed);
    let mut chains = Chains(format!("table inet {TABLE} {{\n"));

    chains.open("prerouting", "type filter hook prerouting priority raw; policy accept;");
    chains.rule(&format!("iifname {wg} {unmarked} counter drop comment \"the program did not let it in\""));
    if let Some(tunnel) = &spec.addresses {
        // Linux answers for its addresses on every interface; and a pool source from elsewhere is forged.
        for address in tunnel.pools() {
            chains.rule(&format!(
                "iifname != {{ {wg}, \"lo\" }} {} saddr {} counter drop",
                address.0, address.1
            ));
        }
        for address in tunnel.own() {
            chains.rule(&format!(
                "iifname != {{ {wg}, \"lo\" }} {} daddr {} counter drop",
                address.0, address.1
            ));
        }
    }
    chains.close();

    chains.open("from_tunnel", "");
    chains.rule(&format!("{unmarked} counter drop"));
    chains.rule("ct state established,related accept");
    if let Some(tunnel) = &spec.addresses {
        for (family, address) in tunnel.addresses_of(tunnel.tunnel_v4.into(), tunnel.tunnel_v6.into()) {
            let echo = if family == "ip" { "icmp type echo-request" } else { "icmpv6 type echo-request" };
            chains.rule(&format!("{family} daddr {address} meta l4proto {{ tcp, udp }} th dport 53 accept"));
            chains.rule(&format!("{family} daddr {address} {echo} accept"));
        }
        for (family, address) in tunnel.addresses_of(tunnel.proxy_v4, tunnel.proxy_v6) {
            chains.rule(&format!("{family} daddr {address} tcp dport {{ 80, 443 }} accept"));
            chains.rule(&format!("{family} daddr {address} udp dport 443 accept"));
        }
    }
    chains.rule("counter drop");
    chains.close();

    chains.open("input", "type filter hook input priority filter; policy accept;");
    chains.rule(&format!("iifname {wg} jump from_tunnel"));
    chains.close();

    chains.open("forward", "type filter hook forward priority filter; policy accept;");
    chains.rule(&format!("iifname {wg} {unmarked} counter drop"));
    chains.rule(&format!("oifname {wg} ct state established,related accept"));
    // Only the program's own mark counts: what another interface's packets carry, somebody else wrote.
    chains.rule(&format!("iifname {wg} oifname {wg} {marked} accept"));
    chains.rule(&format!("oifname {wg} counter drop"));
    chains.pools_elsewhere(spec, &wg);
    chains.close();

    chains.open("output", "type filter hook output priority filter; policy accept;");
    chains.rule(&format!("oifname {wg} ct state established,related accept"));
    chains.rule(&format!("oifname {wg} {marked} accept"));
    chains.rule(&format!("oifname {wg} counter drop"));
    chains.pools_elsewhere(spec, &format!("{{ {wg}, \"lo\" }}"));
    chains.close();

    chains.open("clamp", "type filter hook forward priority mangle; policy accept;");
    for direction in ["iifname", "oifname"] {
        chains.rule(&format!(
            "{direction} {wg} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
        ));
    }
    chains.close();

    chains.open("postrouting", "type nat hook postrouting priority srcnat; policy accept;");
    if let Some(tunnel) = &spec.addresses {
        for (family, pool) in tunnel.pools() {
            chains.rule(&format!(
                "oifname != {{ {wg}, \"lo\" }} {family} saddr {pool} masquerade fully-random"
            ));
        }
    }
    chains.close();
    chains.0 + "}\n"
}

impl TunnelAddresses {
    fn pools(&self) -> [(&'static str, Cidr); 2] {
        [("ip", self.pool_v4), ("ip6", self.pool_v6)]
    }

    /// All addresses of the gateway itself.
    fn own(&self) -> Vec<(&'static str, String)> {
        let mut own = self.addresses_of(self.tunnel_v4.into(), self.tunnel_v6.into());
        own.extend(self.addresses_of(self.proxy_v4, self.proxy_v6));
        own.dedup();
        own
    }

    fn addresses_of(&self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Vec<(&'static str, String)> {
        let v4 = v4.map(|address| ("ip", address.to_string()));
        v4.into_iter().chain(v6.map(|address| ("ip6", address.to_string()))).collect()
    }
}

struct Chains(String);

impl Chains {
    fn open(&mut self, name: &str, hook: &str) {
        let hook = if hook.is_empty() { String::new() } else { format!("    {hook}\n") };
        // Writing to a string cannot fail.
        let _ = write!(self.0, "  chain {name} {{\n{hook}");
    }

    fn rule(&mut self, rule: &str) {
        let _ = writeln!(self.0, "    {rule}");
    }

    fn close(&mut self) {
        self.0.push_str("  }\n");
    }

    /// Replies must not leave in clear by the default route when the tunnel's own route is gone.
    fn pools_elsewhere(&mut self, spec: &Spec, except: &str) {
        for (family, pool) in spec.addresses.iter().flat_map(TunnelAddresses::pools) {
            self.rule(&format!("oifname != {except} {family} daddr {pool} counter drop"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn spec(addresses: Option<TunnelAddresses>) -> Spec {
        Spec {
            mark_mask: 0x00ff_0000,
            mark_allowed: 0x004e_0000,
            ..Spec::new("wg0".parse().unwrap(), addresses)
        }
    }

    #[test]
    fn the_whole_text_is_as_reviewed() {
        let mut addresses = TunnelAddresses::from(&fixture::snapshot().network);
        addresses.proxy_v4 = Some(Ipv4Addr::new(100, 96, 0, 3));
        assert_eq!(fill(&spec(Some(addresses))), include_str!("rules.nft"));
    }

    #[test]
    fn without_addresses_nothing_from_the_tunnel_is_accepted() {
        let text = fill(&spec(None));
        assert!(
            !text.contains("dport")
                && !text.contains("masquerade")
                && text.contains("oifname \"wg0\" counter drop")
        );
    }

    #[test]
    fn both_transactions_hold_the_same_table() {
        let (fill, rebuild) = (fill(&spec(None)), rebuild(&spec(None)));
        assert_eq!(fill.replace("flush table", "delete table"), rebuild);
    }
}
