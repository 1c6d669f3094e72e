//! A class as entries of the PORTS map.

use chrono::{DateTime, Utc};
use nexa_abi::layout::PortsKey;
use nexa_abi::packet;
use nexa_policy::compile::{Class, Grant};
use nexa_types::Protocol;

use crate::schedule::{Schedule, Word};

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

/// Makes every hit decisive: what is said of all protocols is pushed into each that is named, and the ports of a
/// protocol are cut where the answer changes. So a deny of 1-1023 beats an allow of 443, and so does one of
/// everything. So too for times: what ends a wider word ends the narrower ones that it is pushed into.
pub fn entries(class: &Class, schedule: &Schedule<'_>) -> Vec<PortsEntry> {
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
        let entries = entries(&class, &Schedule::new([].iter(), DateTime::UNIX_EPOCH));
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
        let entries = entries(&class, &Schedule::new([].iter(), DateTime::UNIX_EPOCH));
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
        let entries = entries(&class, &Schedule::new([].iter(), DateTime::UNIX_EPOCH));
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
