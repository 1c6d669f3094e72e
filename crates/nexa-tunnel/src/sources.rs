//! How many handshakes one source may begin under load. Asked only about sources that have proven their address by a
//! cookie: before that anybody could use up another's share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What one handshake takes of a source's share: 20 a second, as kernel WireGuard allows
/// (drivers/net/wireguard/ratelimiter.c)…
const COST: Duration = Duration::from_millis(50);
/// …and 5 at once.
const BURST: Duration = Duration::from_millis(5 * 50);
/// Sources that are remembered; they are real ones, and each is forgotten after a quarter of a second.
const MOST: usize = 1 << 16;

/// What sources have left of their shares. IPv6 counts by /64: one host has as many addresses as it likes.
#[derive(Default)]
pub(crate) struct Sources {
    /// When the source will have its whole share again.
    whole_at: HashMap<IpAddr, Instant>,
}

impl Sources {
    /// Whether this source may begin one more handshake now.
    pub(crate) fn admit(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = share_of(source);
        let known = self.whole_at.get(&source).copied();
        if known.is_none() && self.whole_at.len() >= MOST {
            return false;
        }
        let whole_at = known.map_or(now, |at| at.max(now)) + COST;
        let admitted = whole_at <= now + BURST;
        if admitted {
            self.whole_at.insert(source, whole_at);
        }
        admitted
    }

    /// Forgets who has the whole share anyway.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.whole_at.retain(|_, at| *at > now);
    }
}

const fn share_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u64::MAX as u128))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(sources: &mut Sources, source: &str, now: Instant) -> usize {
        let source = source.parse().unwrap();
        (0..100).take_while(|_| sources.admit(source, now)).count()
    }

    #[test]
    fn a_source_has_five_at_once_and_twenty_a_second() {
        let (mut sources, start) = (Sources::default(), Instant::now());
        assert_eq!(admitted(&mut sources, "192.0.2.1", start), 5);
        assert_eq!(admitted(&mut sources, "192.0.2.1", start + COST / 2), 0);
        assert_eq!(admitted(&mut sources, "192.0.2.1", start + 2 * COST), 2);
        assert_eq!(admitted(&mut sources, "192.0.2.1", start + 100 * COST), 5);
    }

    #[test]
    fn an_ipv4_address_and_an_ipv6_network_of_64_bits_are_sources() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        assert_eq!(admitted(&mut sources, "192.0.2.1", now), 5);
        assert_eq!(admitted(&mut sources, "192.0.2.2", now), 5);
        assert_eq!(admitted(&mut sources, "2001:db8:0:1::1", now), 5);
        assert_eq!(admitted(&mut sources, "2001:db8:0:1:ffff::2", now), 0);
        assert_eq!(admitted(&mut sources, "2001:db8:0:2::1", now), 5);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        for n in 0..MOST as u32 {
            assert!(sources.admit(std::net::Ipv4Addr::from(n).into(), now));
        }
        assert!(!sources.admit("192.0.2.1".parse().unwrap(), now), "no room");
        assert!(sources.admit("0.0.0.1".parse().unwrap(), now), "who is known goes on");
        sources.forget(now + BURST);
        assert!(sources.whole_at.is_empty());
    }
}
