use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;

use nexa_types::Cidr;

/// Longest-prefix match: one hash table per prefix length in use, longest first.
///
/// Peers of a gateway are hosts (/32 and /128), so a lookup is one or two probes; a desktop has a handful of lengths.
/// Nothing is proportional to the number of prefixes.
pub(crate) struct Lpm<V> {
    v4: Family<u32, V>,
    v6: Family<u128, V>,
}

impl<V: Copy> Lpm<V> {
    pub(crate) const fn new() -> Self {
        Self { v4: Family { by_length: Vec::new() }, v6: Family { by_length: Vec::new() } }
    }

    pub(crate) fn insert(&mut self, cidr: Cidr, value: V) {
        let length = cidr.net().prefix_len();
        match cidr.net().addr() {
            IpAddr::V4(address) => self.v4.insert(address.to_bits(), length, value),
            IpAddr::V6(address) => self.v6.insert(address.to_bits(), length, value),
        }
    }

    pub(crate) fn remove(&mut self, cidr: Cidr) {
        let length = cidr.net().prefix_len();
        match cidr.net().addr() {
            IpAddr::V4(address) => self.v4.remove(address.to_bits(), length),
            IpAddr::V6(address) => self.v6.remove(address.to_bits(), length),
        }
    }

    /// The value of the longest prefix that holds `address`. A v4 address never matches a v6 prefix.
    pub(crate) fn longest(&self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(address) => self.v4.longest(address.to_bits()),
            IpAddr::V6(address) => self.v6.longest(address.to_bits()),
        }
    }
}

/// An address as an integer.
trait Bits: Copy + Eq + Hash {
    fn masked(self, length: u8) -> Self;
}

impl Bits for u32 {
    fn masked(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(Self::BITS - u32::from(length)).unwrap_or(0)
    }
}

impl Bits for u128 {
    fn masked(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(Self::BITS - u32::from(length)).unwrap_or(0)
    }
}

type Table<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;

struct Family<K, V> {
    by_length: Vec<(u8, Table<K, V>)>,
}

impl<K: Bits, V: Copy> Family<K, V> {
    fn insert(&mut self, address: K, length: u8, value: V) {
        let at = self.by_length.partition_point(|(other, _)| *other > length);
        if self.by_length.get(at).is_none_or(|(other, _)| *other != length) {
            self.by_length.insert(at, (length, Table::default()));
        }
        self.by_length[at].1.insert(address, value);
    }

    fn remove(&mut self, address: K, length: u8) {
        let Some(at) = self.by_length.iter().position(|(other, _)| *other == length) else { return };
        self.by_length[at].1.remove(&address);
        if self.by_length[at].1.is_empty() {
            self.by_length.remove(at);
        }
    }

    fn longest(&self, address: K) -> Option<V> {
        self.by_length.iter().find_map(|(length, table)| table.get(&address.masked(*length)).copied())
    }
}

/// A multiply-and-fold hash. Keys in the tables come from our own configuration, so nobody can aim for collisions.
#[derive(Default)]
pub(crate) struct Fold(u64);

impl Fold {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(Self::FACTOR);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.mix(u64::from(byte).wrapping_add(1));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word).wrapping_add(1 << 40));
    }

    fn write_u128(&mut self, word: u128) {
        self.mix((word as u64).wrapping_add(Self::FACTOR));
        self.mix((word >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let prefixes = [("0.0.0.0/0", 'd'), ("10.0.0.0/8", 'n'), ("10.0.0.1/32", 'h')];
            let mut lpm = Lpm::new();
            for i in order {
                lpm.insert(cidr(prefixes[i].0), prefixes[i].1);
            }
            assert_eq!(lpm.longest(ip("10.0.0.1")), Some('h'));
            assert_eq!(lpm.longest(ip("10.0.0.2")), Some('n'));
            assert_eq!(lpm.longest(ip("11.0.0.2")), Some('d'));
            lpm.remove(cidr("10.0.0.0/8"));
            assert_eq!(lpm.longest(ip("10.0.0.2")), Some('d'));
            assert_eq!(lpm.longest(ip("10.0.0.1")), Some('h'));
        }
    }

    #[test]
    fn families_are_apart() {
        let mut lpm = Lpm::new();
        lpm.insert(cidr("::/0"), 6);
        assert_eq!(lpm.longest(ip("10.0.0.1")), None);
        assert_eq!(lpm.longest(ip("::ffff:10.0.0.1")), Some(6));
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan_of_all_prefixes(
            entries in proptest::collection::vec((any::<u8>(), any::<u8>(), 0u8..=32), 0..20),
            probe in (any::<u8>(), any::<u8>()),
            gone in 0usize..20,
        ) {
            // Few distinct bits, so that prefixes nest and probes hit.
            let address = |a: u8, b: u8| std::net::Ipv4Addr::new(10, a & 3, b & 3, b >> 6);
            let mut lpm = Lpm::new();
            let mut all = HashMap::new();
            for (i, (a, b, length)) in entries.into_iter().enumerate() {
                let net = ipnet::Ipv4Net::new(address(a, b), length).unwrap().trunc();
                let cidr = Cidr::new(net.into()).unwrap();
                lpm.insert(cidr, i);
                all.insert(cidr, i);
            }
            if let Some(&cidr) = all.keys().nth(gone) {
                lpm.remove(cidr);
                all.remove(&cidr);
            }
            let probe = IpAddr::V4(address(probe.0, probe.1));
            let expected = all.iter().filter(|(cidr, _)| cidr.contains(probe)).max_by_key(|(cidr, _)| cidr.net().prefix_len());
            prop_assert_eq!(lpm.longest(probe), expected.map(|(_, value)| *value));
        }
    }
}
