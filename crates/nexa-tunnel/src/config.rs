use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::SystemTime;

use nexa_types::{Cidr, PublicKey};

use crate::Psk;

/// A peer as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Who it is.
    pub public_key: PublicKey,
    /// The addresses it may send from and that are sent to it.
    pub allowed_ips: Vec<Cidr>,
    /// Where it is, when known in advance. The peer's own packets move it (roaming); giving another endpoint than
    /// the last time moves it again, `None` leaves it where it is.
    pub endpoint: Option<SocketAddr>,
    /// A secret shared with this peer alone, mixed into the handshake. A change ends the session.
    pub preshared_key: Option<Psk>,
    /// Seconds of silence after which a keepalive is sent; `None` and 0 mean never.
    pub persistent_keepalive: Option<u16>,
}

/// What [`crate::Engine::set_peers`] did, in numbers of peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerChanges {
    /// Not there before.
    pub added: usize,
    /// There before, with something different now.
    pub changed: usize,
    /// There before and gone now.
    pub removed: usize,
}

/// A peer as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who it is.
    pub public_key: PublicKey,
    /// Where its last authentic packet came from, or the configured place.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was completed (by the peer's first packet, if the peer began it).
    pub last_handshake: Option<SystemTime>,
    /// UDP payload bytes of authentic messages from this peer, handshakes included, cookie replies not.
    pub received_bytes: u64,
    /// UDP payload bytes of messages sent to this peer, handshakes included, cookie replies not.
    pub sent_bytes: u64,
}

/// Why a set of peers was refused. Nothing of it has been applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The same public key twice.
    #[error("peer {0} is listed twice; list each public key once")]
    DuplicateKey(PublicKey),
    /// The engine's own public key.
    #[error("{0} is this tunnel's own public key; a peer needs its own key pair")]
    OwnKey(PublicKey),
    /// The same allowed IPs for two peers.
    #[error("{cidr} is in the allowed IPs of both {first} and {second}; give it to one of them")]
    Overlap {
        /// The prefix.
        cidr: Cidr,
        /// The peer that was listed with it first.
        first: PublicKey,
        /// The peer that was listed with it again.
        second: PublicKey,
    },
    /// An endpoint nothing can be sent to.
    #[error(
        "{endpoint} cannot be the endpoint of {peer}; an endpoint is a unicast address and a port from 1 to 65535"
    )]
    Endpoint {
        /// The peer.
        peer: PublicKey,
        /// What was given.
        endpoint: SocketAddr,
    },
    /// The tunnel's thread has ended, see [`crate::Engine::failure`].
    #[error("the tunnel has stopped; start it again")]
    Stopped,
}

/// Checks a desired set as a whole.
pub(crate) fn validate(own: PublicKey, peers: &[PeerConfig]) -> Result<(), PeerError> {
    let mut keys = HashSet::with_capacity(peers.len());
    let mut owners = HashMap::with_capacity(peers.len());
    for peer in peers {
        let key = peer.public_key;
        if key == own {
            return Err(PeerError::OwnKey(key));
        }
        if !keys.insert(key) {
            return Err(PeerError::DuplicateKey(key));
        }
        if let Some(endpoint) = peer.endpoint
            && !reachable(endpoint)
        {
            return Err(PeerError::Endpoint { peer: key, endpoint });
        }
        for &cidr in &peer.allowed_ips {
            if let Some(first) = owners.insert(cidr, key)
                && first != key
            {
                return Err(PeerError::Overlap { cidr, first, second: key });
            }
        }
    }
    Ok(())
}

fn reachable(endpoint: SocketAddr) -> bool {
    let ip = endpoint.ip();
    let broadcast = matches!(ip, std::net::IpAddr::V4(v4) if v4.is_broadcast());
    endpoint.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32]).unwrap()
    }

    fn peer(byte: u8, allowed_ips: &[&str]) -> PeerConfig {
        PeerConfig {
            public_key: key(byte),
            allowed_ips: allowed_ips.iter().map(|text| text.parse().unwrap()).collect(),
            endpoint: None,
            preshared_key: None,
            persistent_keepalive: None,
        }
    }

    #[test]
    fn nested_prefixes_of_two_peers_are_fine() {
        let peers = [peer(1, &["10.0.0.0/8", "::/0"]), peer(2, &["10.0.0.1/32", "10.0.0.1/32"])];
        assert_eq!(validate(key(9), &peers), Ok(()));
    }

    #[test]
    fn the_same_prefix_of_two_peers_is_refused_by_name() {
        let cidr: Cidr = "10.0.0.0/8".parse().unwrap();
        let error =
            validate(key(9), &[peer(1, &["10.0.0.0/8"]), peer(2, &["::/0", "10.0.0.0/8"])]).unwrap_err();
        assert_eq!(error, PeerError::Overlap { cidr, first: key(1), second: key(2) });
    }

    #[test]
    fn doubled_and_own_keys_are_refused() {
        assert_eq!(validate(key(9), &[peer(1, &[]), peer(1, &[])]), Err(PeerError::DuplicateKey(key(1))));
        assert_eq!(validate(key(9), &[peer(9, &[])]), Err(PeerError::OwnKey(key(9))));
    }

    #[test]
    fn endpoints_nothing_can_be_sent_to_are_refused() {
        for text in ["192.0.2.1:0", "0.0.0.0:51820", "[ff02::1]:51820", "255.255.255.255:51820"] {
            let endpoint = text.parse().unwrap();
            let wanted = PeerConfig { endpoint: Some(endpoint), ..peer(1, &[]) };
            assert_eq!(
                validate(key(9), &[wanted]),
                Err(PeerError::Endpoint { peer: key(1), endpoint }),
                "{text}"
            );
        }
    }
}
