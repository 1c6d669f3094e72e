use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// An IP prefix without host bits. A bare address in text is its /32 or /128.
///
/// Prefixes are in the order of their addresses, IPv4 first, and each comes before those inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr(IpNet);

/// Why a text or a prefix is no [`Cidr`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Neither `address/length` nor an address.
    #[error("`{0}` is not an IP prefix; write it like 10.20.0.0/16 or 2001:db8::/32")]
    Syntax(String),
    /// Bits beyond the prefix length are set.
    #[error("`{given}` has bits set beyond its length; did you mean {meant}?")]
    HostBits {
        /// What was given.
        given: IpNet,
        /// The prefix that holds it.
        meant: IpNet,
    },
}

impl Cidr {
    /// Takes a prefix; refuses one with host bits.
    ///
    /// # Errors
    /// [`CidrError::HostBits`].
    pub fn new(net: IpNet) -> Result<Self, CidrError> {
        let meant = net.trunc();
        if meant == net { Ok(Self(net)) } else { Err(CidrError::HostBits { given: net, meant }) }
    }

    /// The prefix that holds exactly `address`.
    pub fn host(address: IpAddr) -> Self {
        Self(address.into())
    }

    /// The prefix in the form other crates take.
    pub const fn net(self) -> IpNet {
        self.0
    }

    /// Whether `address` is of this family and inside.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    // Small, and asked by the million where whole policies are compiled: worth a copy in who asks.
    /// Whether `other` is of this family and wholly inside; a prefix covers itself.
    #[inline]
    pub fn covers(self, other: Self) -> bool {
        self.0.prefix_len() <= other.0.prefix_len() && self.overlaps(other)
    }

    /// Whether some address is in both.
    #[inline]
    pub fn overlaps(self, other: Self) -> bool {
        let bits = self.0.prefix_len().min(other.0.prefix_len());
        self.is_v4() == other.is_v4() && (self.left_bits() ^ other.left_bits()).leading_zeros() >= bits.into()
    }

    #[inline]
    const fn is_v4(self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// The address, from the left; behind it is nothing.
    #[inline]
    const fn left_bits(self) -> u128 {
        match self.0 {
            IpNet::V4(net) => (net.addr().to_bits() as u128) << 96,
            IpNet::V6(net) => net.addr().to_bits(),
        }
    }

    /// What a prefix is, as it is ordered. Whole policies are sorted by it: the parts of an address one by one take four
    /// times as long to compare.
    #[inline]
    fn order(self) -> (bool, u128, u8) {
        (!self.is_v4(), self.left_bits(), self.0.prefix_len())
    }
}

impl Ord for Cidr {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Cidr {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::host(address));
        }
        Self::new(text.parse().map_err(|_| CidrError::Syntax(text.to_owned()))?)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

crate::serde_as_text!(Cidr);

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_refused_with_what_was_meant() {
        let error = "10.20.1.9/16".parse::<Cidr>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`10.20.1.9/16` has bits set beyond its length; did you mean 10.20.0.0/16?"
        );
    }

    #[test]
    fn an_address_alone_is_a_host_prefix() {
        assert_eq!(cidr("10.0.0.1"), cidr("10.0.0.1/32"));
        assert_eq!(cidr("2001:db8::1"), cidr("2001:db8::1/128"));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "fe80::%eth0/64", "0.0.0.0/-1", "example.test"] {
            assert!(matches!(bad.parse::<Cidr>(), Err(CidrError::Syntax(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_comes_before_those_inside_it_and_ipv4_before_ipv6() {
        let sorted = [
            "0.0.0.0/0",
            "9.0.0.0/8",
            "10.0.0.0/8",
            "10.0.0.0/16",
            "10.0.0.0",
            "10.0.0.1",
            "::/0",
            "::/8",
            "::",
            "1::",
        ]
        .map(cidr);
        assert!(sorted.is_sorted_by(|one, next| one < next && one.net() < next.net()));
        let covers = |one: Cidr, other: Cidr| one.net().contains(&other.net());
        for (one, other) in sorted.iter().flat_map(|one| sorted.map(|other| (*one, other))) {
            assert_eq!(one.covers(other), covers(one, other), "{one} {other}");
            assert_eq!(one.overlaps(other), covers(one, other) || covers(other, one), "{one} {other}");
        }
    }

    #[test]
    fn families_never_cover_each_other() {
        assert!(!cidr("::/0").covers(cidr("10.0.0.0/8")));
        assert!(!cidr("0.0.0.0/0").contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(
            cidr("10.0.0.0/8").overlaps(cidr("10.1.0.0/16"))
                && cidr("10.1.0.0/16").overlaps(cidr("10.0.0.0/8"))
        );
    }
}
