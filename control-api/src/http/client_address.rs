//! Where a request comes from, also behind proxies.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;

use crate::app::App;

/// Where proxies note whom they speak for, each behind the ones before it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose word is taken on who asked them.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

/// The address that a request comes from; `None` where there is no connection, as in tests.
#[derive(Clone, Copy, Default)]
pub(super) struct ClientAddress(pub(super) Option<IpAddr>);

impl TrustedProxies {
    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Who asked: going back from the connection, the first that is no proxy of ours. What stands further left in the
    /// header is that one's own word, and counts for nothing.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let hops = headers.get_all(FORWARDED_FOR).into_iter().rev();
        let hops = hops.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for hop in hops {
            if !self.trust(client) {
                break;
            }
            match parse_hop(hop.trim()) {
                Some(address) => client = address.to_canonical(),
                None => break,
            }
        }
        client
    }
}

impl FromStr for TrustedProxies {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "addresses and prefixes with commas between, such as 10.0.0.1,fd00::/8";
        let net = |part: &str| {
            let part = part.trim();
            let single = || part.parse::<IpAddr>().map(IpNet::from);
            part.parse::<IpNet>().or_else(|_| single()).map(|net| net.trunc()).map_err(|_| wrong)
        };
        let parts = text.split(',').filter(|_| !text.trim().is_empty());
        Ok(Self(parts.map(net).collect::<Result<_, _>>()?))
    }
}

/// Notes with a request where it comes from.
pub(super) async fn note(
    State(trusted): State<TrustedProxies>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let client = trusted.client(peer.ip(), request.headers());
        request.extensions_mut().insert(ClientAddress(Some(client)));
    }
    next.run(request).await
}

impl ClientAddress {
    /// As [`note`] noted it.
    pub(super) fn of(parts: &Parts) -> Self {
        parts.extensions.get().copied().unwrap_or_default()
    }
}

impl FromRequestParts<App> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// Some proxies add the port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok();
    text.parse::<SocketAddr>().map(|address| address.ip()).ok().or_else(bare)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(trusted: &str, peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let trusted: TrustedProxies = trusted.parse().unwrap();
        trusted.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn without_a_trusted_proxy_the_connection_counts() {
        assert_eq!(client("", "192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(client("", "::ffff:192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn behind_proxies_the_right_most_that_is_none_of_them_counts() {
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            client("10.0.0.0/8", "10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.0.0.2"]),
            "198.51.100.1"
        );
        assert_eq!(
            client("10.0.0.0/8", "10.0.0.1", &["203.0.113.9", "198.51.100.1, 10.0.0.2"]),
            "198.51.100.1"
        );
        assert_eq!(client("10.0.0.0/8", "::ffff:10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &["198.51.100.1:5000"]), "198.51.100.1");
    }

    #[test]
    fn a_proxy_that_says_nothing_or_nonsense_is_where_the_trail_ends() {
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["198.51.100.1, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["198.51.100.1, "]), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["unknown, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn what_is_no_list_of_prefixes_is_refused() {
        for text in ["10.0.0.0/33", "proxy", "10.0.0.1,", "10.0.0.1 10.0.0.2"] {
            assert!(text.parse::<TrustedProxies>().is_err(), "{text}");
        }
    }
}
