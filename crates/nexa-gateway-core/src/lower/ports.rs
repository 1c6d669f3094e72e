//! A class as entries of the PORTS map.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use nexa_abi::layout::PortsKey;
use nexa_abi::packet;
use nexa_policy::compile::{Class, Grant};
use nexa_policy::model::Effect;
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
///
/// Takes what it costs from `words`; nothing where that is not enough.
pub fn entries(class: &Class, schedule: &Schedule<'_>, words: &mut usize) -> Option<Vec<PortsEntry>> {
    let mut entries = Vec::new();
    let mut of_all = Speaking::new(schedule);
    class
        .iter()
        .filter(|grant| grant.traffic.protocol == Protocol::Any)
        .for_each(|grant| of_all.begin(grant));
    if let Some(word) = of_all.word(words)? {
        entries.push(entry(PortsKey::CLASS_BITS, 0, 0, word));
    }
    for (protocol, mut spoken) in by_protocol(class) {
        spoken.extend(of_all.lowest());
        if matches!(protocol, packet::TCP | packet::UDP) {
            for (first, last, word) in intervals(&spoken, schedule, words)? {
                for (port, bits) in prefixes(first, last) {
                    entries.push(entry(PortsKey::PROTOCOL_BITS + bits, protocol, port, word));
                }
            }
        } else {
            let mut speaking = Speaking::new(schedule);
            spoken.into_iter().for_each(|grant| speaking.begin(grant));
            if let Some(word) = speaking.word(words)? {
                entries.push(entry(PortsKey::PROTOCOL_BITS, protocol, 0, word));
            }
        }
    }
    Some(entries)
}

fn entry(prefix_bits: u32, protocol: u8, port: u16, word: Word) -> PortsEntry {
    let Word { verdict, rule, not_after } = word;
    PortsEntry { prefix_bits, protocol, port, verdict, rule, not_after }
}

/// Grants of each protocol that is named.
fn by_protocol(class: &Class) -> BTreeMap<u8, Vec<&Grant>> {
    let mut protocols: BTreeMap<u8, Vec<&Grant>> = BTreeMap::new();
    for grant in class {
        for protocol in numbers(grant.traffic.protocol) {
            protocols.entry(*protocol).or_default().push(grant);
        }
    }
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
fn intervals(grants: &[&Grant], schedule: &Schedule<'_>, words: &mut usize) -> Option<Vec<(u16, u16, Word)>> {
    let range = |grant: &Grant| match grant.traffic.protocol {
        Protocol::Tcp | Protocol::Udp => {
            (u32::from(grant.traffic.ports.first()), u32::from(grant.traffic.ports.last()))
        }
        _ => (0, u32::from(u16::MAX)),
    };
    let mut edges: Vec<(u32, bool, &Grant)> = Vec::with_capacity(2 * grants.len());
    for grant in grants {
        let (first, last) = range(grant);
        edges.extend([(first, true, *grant), (last + 1, false, *grant)]);
    }
    edges.sort_unstable();

    let mut speaking = Speaking::new(schedule);
    let mut intervals: Vec<(u16, u16, Word)> = Vec::new();
    let mut edges = edges.chunk_by(|one, next| one.0 == next.0).peekable();
    while let Some(here) = edges.next() {
        for (_, begins, grant) in here {
            if *begins { speaking.begin(grant) } else { speaking.end(grant) }
        }
        // Every range ends somewhere.
        let Some(next) = edges.peek() else { break };
        let (Some(word), Ok(first), Ok(last)) =
            (speaking.word(words)?, u16::try_from(here[0].0), u16::try_from(next[0].0 - 1))
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
    Some(intervals)
}

/// Grants that speak of one port: of each kind, so that those that change nothing are not looked at.
struct Speaking<'a, 's> {
    schedule: &'s Schedule<'s>,
    kinds: BTreeMap<(Effect, Option<usize>), BTreeSet<&'a Grant>>,
}

impl<'a, 's> Speaking<'a, 's> {
    const fn new(schedule: &'s Schedule<'s>) -> Self {
        Self { schedule, kinds: BTreeMap::new() }
    }

    fn begin(&mut self, grant: &'a Grant) {
        self.kinds.entry(self.schedule.kind(grant)).or_default().insert(grant);
    }

    fn end(&mut self, grant: &'a Grant) {
        let kind = self.schedule.kind(grant);
        if let Some(of_kind) = self.kinds.get_mut(&kind) {
            of_kind.remove(grant);
            if of_kind.is_empty() {
                self.kinds.remove(&kind);
            }
        }
    }

    /// The lowest rule of each kind.
    fn lowest(&self) -> impl Iterator<Item = &'a Grant> + Clone + '_ {
        self.kinds.values().filter_map(|of_kind| of_kind.first().copied())
    }

    /// The final word, for as many `words` as there are kinds; nothing where there are fewer.
    #[expect(clippy::option_option, reason = "nothing may be said, or it may be too much to find out")]
    fn word(&self, words: &mut usize) -> Option<Option<Word>> {
        *words = words.checked_sub(self.kinds.len())?;
        Some(self.schedule.word(self.lowest()))
    }
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
    use nexa_policy::model::Traffic;
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

    fn lowered(class: &Class) -> Vec<PortsEntry> {
        entries(class, &Schedule::new([].iter(), DateTime::UNIX_EPOCH), &mut usize::MAX.clone()).unwrap()
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
        let entries = lowered(&class);
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
        let entries = lowered(&class);
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
        let entries = lowered(&class);
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
