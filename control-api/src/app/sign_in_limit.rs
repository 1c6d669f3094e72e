//! How often one may try to sign in. Each server counts for itself: several let through as many times more.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};

use super::{Error, Result};

/// Tries at one account from one place: who mistypes does not reach it, who guesses does at once.
const PER_PAIR: (u32, Duration) = (20, Duration::from_secs(3));
/// Tries at one account from everywhere. Above the former, so that who guesses from one place does not lock others out.
const PER_ACCOUNT: (u32, Duration) = (100, Duration::from_secs(1));
/// Tries from one place at all accounts. An office may share an address.
const PER_ADDRESS: (u32, Duration) = (100, Duration::from_secs(1));
/// All tries: checking passwords takes cores that others need.
const IN_ALL: (u32, Duration) = (500, Duration::from_millis(20));

/// The prefix that one host of IPv6 can take addresses from as it likes, bits.
const V6_PREFIX: u32 = 64;

/// Limits on signing in: so many at once, and one more after each period.
pub(super) struct SignInLimit {
    pairs: DefaultKeyedRateLimiter<(String, IpAddr)>,
    accounts: DefaultKeyedRateLimiter<String>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    all: DefaultDirectRateLimiter,
}

impl Default for SignInLimit {
    fn default() -> Self {
        Self {
            pairs: RateLimiter::keyed(quota(PER_PAIR)),
            accounts: RateLimiter::keyed(quota(PER_ACCOUNT)),
            addresses: RateLimiter::keyed(quota(PER_ADDRESS)),
            all: RateLimiter::direct(quota(IN_ALL)),
        }
    }
}

impl SignInLimit {
    /// Counts a try at an account, whether there is such an account or not, from an address. One that is refused for
    /// its place counts for nothing wider.
    pub(super) fn attempt(&self, username: &str, address: Option<IpAddr>) -> Result<()> {
        let account = username.to_lowercase();
        if let Some(address) = address.map(place) {
            self.pairs.check_key(&(account.clone(), address)).map_err(too_many)?;
            self.addresses.check_key(&address).map_err(too_many)?;
        }
        self.accounts.check_key(&account).map_err(too_many)?;
        self.all.check().map_err(too_many)
    }

    /// Forgets whom no limit holds any more.
    pub(super) fn forget(&self) {
        self.pairs.retain_recent();
        self.accounts.retain_recent();
        self.addresses.retain_recent();
    }
}

fn quota((burst, period): (u32, Duration)) -> Quota {
    let quota = Quota::with_period(period).expect("a period is not zero");
    quota.allow_burst(NonZeroU32::new(burst).expect("a burst is not zero"))
}

fn place(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> (128 - V6_PREFIX) << (128 - V6_PREFIX)).into(),
    }
}

fn too_many(not_until: NotUntil<<DefaultClock as Clock>::Instant>) -> Error {
    let wait = not_until.wait_time_from(DefaultClock::default().now());
    Error::TooMany { retry_after_seconds: u16::try_from(wait.as_secs() + 1).unwrap_or(u16::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(limit: &SignInLimit, account: &str, address: &str) -> usize {
        (0..1000).take_while(|_| limit.attempt(account, address.parse().ok()).is_ok()).count()
    }

    #[test]
    fn who_guesses_from_one_place_is_stopped_and_locks_nobody_else_out() {
        let limit = SignInLimit::default();
        assert_eq!(tries(&limit, "alice", "192.0.2.1"), 20);
        assert_eq!(tries(&limit, "ALICE", "192.0.2.1"), 0, "whatever the case");
        assert!(limit.attempt("alice", "192.0.2.2".parse().ok()).is_ok());
        assert!(limit.attempt("bob", "192.0.2.1".parse().ok()).is_ok());
    }

    #[test]
    fn one_network_of_ipv6_is_one_place() {
        let limit = SignInLimit::default();
        assert_eq!(tries(&limit, "alice", "2001:db8::1"), 20);
        assert_eq!(tries(&limit, "alice", "2001:db8::ffff:2"), 0);
        assert_eq!(tries(&limit, "alice", "2001:db8:0:1::1"), 20);
    }

    #[test]
    fn many_places_at_one_account_and_one_place_at_many_accounts_are_stopped() {
        let limit = SignInLimit::default();
        let passed = |limit: &SignInLimit, pairs: &mut dyn Iterator<Item = (String, String)>| {
            pairs.filter(|(account, address)| limit.attempt(account, address.parse().ok()).is_ok()).count()
        };
        let passed_account =
            passed(&limit, &mut (0..200).map(|place| ("alice".into(), format!("10.0.0.{place}"))));
        // One more may have come due meanwhile.
        assert!((100..=102).contains(&passed_account), "{passed_account}");
        let passed_place =
            passed(&limit, &mut (0..200).map(|account| (format!("user{account}"), "10.1.0.1".into())));
        assert!((100..=102).contains(&passed_place), "{passed_place}");
    }

    #[test]
    fn a_refusal_says_when_to_come_again() {
        let limit = SignInLimit::default();
        tries(&limit, "alice", "192.0.2.1");
        let refused = limit.attempt("alice", "192.0.2.1".parse().ok());
        assert!(matches!(refused, Err(Error::TooMany { retry_after_seconds: 1..=4 })), "{refused:?}");
    }
}
