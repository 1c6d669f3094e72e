//! From a policy to the entries of the BPF maps, as they are to be from an instant on.
//!
//! Indexes in here are positions in [`Lowered`]; the numbers in the maps are given out by [`crate::install`].

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use nexa_abi::layout::{DestKey, Family, MAX_PEERS, MAX_RULES, PeerKey, PortsKey};
use nexa_abi::packet;
use nexa_policy::compile::{Class, Grant, Set};
use nexa_types::{Cidr, DeviceId, Protocol};
use nexa_wire::snapshot::Snapshot;

use crate::model::{self, ModelError};
use crate::schedule::{Schedule, Word};

/// Most entries of each of the two tries, all sets and both generations of a swap together.
pub const MAX_ENTRIES: usize = 1 << 20;

/// Why a snapshot cannot be enforced. Nothing of it is then used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// It contradicts itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// More peers than there are indexes.
    #[error(
        "{0} devices are more than the {MAX_PEERS} that one gateway serves; move some to another network"
    )]
    Peers(usize),
    /// More rules than are counted apart.
    #[error("{0} rules are more than the {MAX_RULES} that one gateway counts; merge some")]
    Rules(usize),
    /// More prefixes or ports than the maps hold.
    #[error(
        "policy needs {needed} {map} entries, more than the {MAX_ENTRIES} that the map holds; merge prefixes or port ranges"
    )]
    Entries {
        /// The map.
        map: &'static str,
        /// What it would have to hold.
        needed: usize,
    },
}

/// A policy as map entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// Devices that may connect.
    pub peers: Vec<LoweredPeer>,
    /// Index 0 grants nothing.
    pub sets: Vec<Vec<DestEntry>>,
    /// Index 0 grants nothing.
    pub classes: Vec<Vec<PortsEntry>>,
    /// Numbers of the rules, those too that decide nothing.
    pub rules: Vec<u32>,
    /// When to lower the same policy anew, because a rule begins or ends to speak; nothing where never.
    pub next_change: Option<DateTime<Utc>>,
}

/// A device, its addresses and its two sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoweredPeer {
    /// The device.
    pub device: DeviceId,
    /// Its addresses, one of each family.
    pub addresses: [PeerKey; 2],
    /// Position in [`Lowered::sets`].
    pub shared: usize,
    /// Position in [`Lowered::sets`].
    pub own: usize,
    /// When it stops being served.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A prefix of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestEntry {
    /// Bits of the whole key.
    pub prefix_bits: u32,
    /// Part of the key.
    pub family: Family,
    /// IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Position in [`Lowered::classes`].
    pub class: u32,
}

/// A prefix of a class, and the final word on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortsEntry {
    /// Bits of the whole key.
    pub prefix_bits: u32,
    /// IANA protocol number; 0 where the prefix ends before it.
    pub protocol: u8,
    /// First port of the prefix.
    pub port: u16,
    /// As [`nexa_abi::layout::PortsValue::verdict`].
    pub verdict: u32,
    /// Number of the rule that decides.
    pub rule: u32,
    /// Until when an allow stands; nothing where that is for ever.
    pub not_after: Option<DateTime<Utc>>,
}

/// Lowers a snapshot as it is at an instant. `local` are the gateway's own addresses, which no resource covers.
///
/// The entries may be used at any later time: they never admit what the rules then refuse. What rules that begin later
/// allow is not in them, so the policy is to be lowered anew at [`Lowered::next_change`].
///
/// # Errors
/// [`LowerError`]; a policy is lowered whole or not at all.
pub fn lower(snapshot: &Snapshot, local: &[IpAddr], at: DateTime<Utc>) -> Result<Lowered, LowerError> {
    if snapshot.peers.len() > MAX_PEERS as usize {
        return Err(LowerError::Peers(snapshot.peers.len()));
    }
    if snapshot.rules.len() > MAX_RULES as usize {
        return Err(LowerError::Rules(snapshot.rules.len()));
    }
    let model = model::from_snapshot(snapshot, local)?;
    let compiled = nexa_policy::compile(&model);
    let schedule = Schedule::new(&model.rules, at);
    let peers = snapshot.peers.iter().zip(&compiled.peers).map(|(peer, compiled)| LoweredPeer {
        device: peer.device,
        addresses: peer.addresses().map(peer_key),
        shared: compiled.shared,
        own: compiled.own,
        expires_at: peer.expires_at,
    });
    let lowered = Lowered {
        peers: peers.collect(),
        sets: compiled.sets.iter().map(dest_entries).collect(),
        classes: compiled.classes.iter().map(|class| ports_entries(class, &schedule)).collect(),
        rules: snapshot.rules.iter().map(|rule| rule.id.0).collect(),
        next_change: schedule.next_change(),
    };
    for (map, needed) in [
        ("prefix", lowered.sets.iter().map(Vec::len).sum()),
        ("port", lowered.classes.iter().map(Vec::len).sum::<usize>()),
    ] {
        if needed > MAX_ENTRIES {
            return Err(LowerError::Entries { map, needed });
        }
    }
    Ok(lowered)
}

/// The key of an address in the PEERS map.
pub fn peer_key(address: IpAddr) -> PeerKey {
    let (family, address) = family_and_bytes(address);
    PeerKey { family: family as u32, address }
}

fn family_and_bytes(address: IpAddr) -> (Family, [u8; 16]) {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (Family::V4, bytes)
        }
        IpAddr::V6(v6) => (Family::V6, v6.octets()),
    }
}

fn dest_entries(set: &Set) -> Vec<DestEntry> {
    // A class has at least one grant and a policy fewer than four thousand million of them.
    set.iter().map(|(cidr, class)| dest_entry(*cidr, u32::try_from(*class).unwrap_or(u32::MAX))).collect()
}

fn dest_entry(cidr: Cidr, class: u32) -> DestEntry {
    let net: IpNet = cidr.net();
    let (family, address) = family_and_bytes(net.addr());
    DestEntry { prefix_bits: DestKey::FIXED_BITS + u32::from(net.prefix_len()), family, address, class }
}

/// Makes every hit decisive: what is said of all protocols is pushed into each that is named, and the ports of a
/// protocol are cut where the answer changes. So a deny of 1-1023 beats an allow of 443, and so does one of
/// everything. So too for times: what ends a wider word ends the narrower ones that it is pushed into.
fn ports_entries(class: &Class, schedule: &Schedule<'_>) -> Vec<PortsEntry> {
    let of_all: Vec<&Grant> = class.iter().filter(|grant| grant.traffic.protocol == Protocol::Any).collect();
    let mut entries = Vec::new();
    if let Some(word) = schedule.word(of_all.iter().copied()) {
        entries.push(entry(PortsKey::CLASS_BITS, 0, 0, word));
    }
    for protocol in named_protocols(class) {
        let spoken: Vec<&Grant> = class
            .iter()
            .filter(|grant| numbers(grant.traffic.protocol).contains(&protocol))
            .chain(of_all.iter().copied())
            .collect();
        if matches!(protocol, packet::TCP | packet::UDP) {
            for (first, last, word) in intervals(&spoken, schedule) {
                for (port, bits) in prefixes(first, last) {
                    entries.push(entry(PortsKey::PROTOCOL_BITS + bits, protocol, port, word));
                }
            }
        } else if let Some(word) = schedule.word(spoken.into_iter()) {
            entries.push(entry(PortsKey::PROTOCOL_BITS, protocol, 0, word));
        }
    }
    entries
}

fn entry(prefix_bits: u32, protocol: u8, port: u16, word: Word) -> PortsEntry {
    let Word { verdict, rule, not_after } = word;
    PortsEntry { prefix_bits, protocol, port, verdict, rule, not_after }
}

fn named_protocols(class: &Class) -> Vec<u8> {
    let mut protocols: Vec<u8> =
        class.iter().flat_map(|grant| numbers(grant.traffic.protocol)).copied().collect();
    protocols.sort_unstable();
    protocols.dedup();
    protocols
}

/// The protocol numbers that a name stands for; none for `any`, which names no protocol.
const fn numbers(protocol: Protocol) -> &'static [u8] {
    /// Every number, so that each can be handed out as a slice of one.
    const NUMBERS: [u8; 256] = {
        let mut numbers = [0; 256];
        let mut number = 0;
        while number < 256 {
            numbers[number] = number as u8;
            number += 1;
        }
        numbers
    };
    match protocol {
        Protocol::Any => &[],
        Protocol::Tcp => &[packet::TCP],
        Protocol::Udp => &[packet::UDP],
        Protocol::Icmp => &[packet::ICMP, packet::ICMPV6],
        Protocol::Number(number) => NUMBERS.split_at(number as usize).1.split_at(1).0,
    }
}

/// Cuts ports 0 to 65535 where the answer changes; ports of which nothing is said are left out.
fn intervals(grants: &[&Grant], schedule: &Schedule<'_>) -> Vec<(u16, u16, Word)> {
    let range = |grant: &Grant| match grant.traffic.protocol {
        Protocol::Tcp | Protocol::Udp => {
            (u32::from(grant.traffic.ports.first()), u32::from(grant.traffic.ports.last()))
        }
        _ => (0, u32::from(u16::MAX)),
    };
    let mut starts: Vec<u32> =
        grants.iter().map(|grant| range(grant)).flat_map(|(a, b)| [a, b + 1]).collect();
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([u32::from(u16::MAX)]);

    let mut intervals: Vec<(u16, u16, Word)> = Vec::new();
    for (first, last) in starts.iter().copied().zip(ends) {
        let here = grants.iter().copied().filter(|grant| range(grant).0 <= first && last <= range(grant).1);
        let (Some(word), Ok(first), Ok(last)) =
            (schedule.word(here), u16::try_from(first), u16::try_from(last))
        else {
            continue;
        };
        match intervals.last_mut() {
            Some(previous) if previous.1.checked_add(1) == Some(first) && previous.2 == word => {
                previous.1 = last
            }
            _ => intervals.push((first, last, word)),
        }
    }
    intervals
}

/// The fewest prefixes that hold exactly the ports from `first` to `last`: first port and length in bits.
fn prefixes(first: u16, last: u16) -> Vec<(u16, u32)> {
    let mut prefixes = Vec::new();
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    while at < end {
        // As many trailing zeros as the start has, but not beyond the end.
        let mut size_bits = at.trailing_zeros().min(16);
        while at + (1 << size_bits) > end {
            size_bits -= 1;
        }
        prefixes.push((u16::try_from(at).unwrap_or(u16::MAX), 16 - size_bits));
        at += 1 << size_bits;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexa_abi::layout::{ALLOW, DENY};
    use nexa_policy::model::{Effect, Traffic};
    use nexa_types::RuleId;
    use proptest::prelude::*;

    fn grant(effect: Effect, rule: u32, protocol: Protocol, ports: &str) -> Grant {
        Grant {
            effect,
            rule: RuleId(rule),
            traffic: Traffic { protocol, ports: ports.parse().unwrap() },
            named: false,
        }
    }

    /// The longest prefix that holds a port, as the kernel finds it.
    fn longest(entries: &[PortsEntry], protocol: u8, port: u16) -> Option<(u32, u32)> {
        entries
            .iter()
            .filter(|entry| match entry.prefix_bits {
                PortsKey::CLASS_BITS => true,
                bits => {
                    let free = PortsKey::BITS - bits;
                    entry.protocol == protocol && u32::from(entry.port) >> free == u32::from(port) >> free
                }
            })
            .max_by_key(|entry| entry.prefix_bits)
            .map(|entry| (entry.verdict, entry.rule))
    }

    #[test]
    fn a_deny_of_a_range_beats_an_allow_of_one_port_in_it() {
        let class = vec![
            grant(Effect::Allow, 1, Protocol::Tcp, "443"),
            grant(Effect::Allow, 1, Protocol::Tcp, "8443"),
            grant(Effect::Deny, 2, Protocol::Tcp, "1-1023"),
        ];
        let entries = ports_entries(&class, &Schedule::new(&[], DateTime::UNIX_EPOCH));
        assert_eq!(longest(&entries, packet::TCP, 443), Some((DENY, 2)));
        assert_eq!(longest(&entries, packet::TCP, 8443), Some((ALLOW, 1)));
        assert_eq!(longest(&entries, packet::TCP, 8444), None);
        assert_eq!(longest(&entries, packet::UDP, 443), None);
    }

    #[test]
    fn a_deny_of_every_protocol_beats_an_allow_of_one() {
        let class = vec![
            grant(Effect::Allow, 1, Protocol::Tcp, "443"),
            grant(Effect::Allow, 3, Protocol::Icmp, "any"),
            grant(Effect::Deny, 2, Protocol::Any, "any"),
        ];
        let entries = ports_entries(&class, &Schedule::new(&[], DateTime::UNIX_EPOCH));
        for (protocol, port) in
            [(packet::TCP, 443), (packet::ICMP, 0x0800), (packet::ICMPV6, 0x8000), (132, 0)]
        {
            assert_eq!(longest(&entries, protocol, port), Some((DENY, 2)), "{protocol}/{port}");
        }
    }

    #[test]
    fn an_allow_of_everything_fills_the_ports_that_a_protocol_leaves_open() {
        let class =
            vec![grant(Effect::Deny, 1, Protocol::Udp, "53"), grant(Effect::Allow, 2, Protocol::Any, "any")];
        let entries = ports_entries(&class, &Schedule::new(&[], DateTime::UNIX_EPOCH));
        assert_eq!(longest(&entries, packet::UDP, 53), Some((DENY, 1)));
        assert_eq!(longest(&entries, packet::UDP, 54), Some((ALLOW, 2)));
        assert_eq!(longest(&entries, packet::UDP, 0), Some((ALLOW, 2)));
    }

    proptest! {
        #[test]
        fn prefixes_hold_exactly_their_range(a: u16, b: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let mut expected = u32::from(first);
            for (port, bits) in prefixes(first, last) {
                prop_assert_eq!(u32::from(port), expected);
                expected += 1 << (16 - bits);
            }
            prop_assert_eq!(expected, u32::from(last) + 1);
            prop_assert!(prefixes(first, last).len() <= 30);
        }
    }
}
