use std::collections::HashMap;
use std::net::SocketAddr;

use nexa_types::PublicKey;

use super::request::{AllowedIp, Before, PeerSet, Presence, Set};
use crate::PeerConfig;

/// What a request comes to: all peers, and where some of them are to be from now on.
pub(super) struct Merged {
    pub(super) peers: Vec<PeerConfig>,
    pub(super) moved: Vec<(PublicKey, SocketAddr)>,
}

/// Changes the peers as they are asked to be.
pub(super) fn merge(now: Vec<PeerConfig>, set: &Set) -> Merged {
    let kept = if set.peers_before == Before::Replaced { Vec::new() } else { now };
    let mut peers: HashMap<PublicKey, PeerConfig> =
        kept.into_iter().map(|peer| (peer.public_key, peer)).collect();
    let mut moved = HashMap::new();
    for wanted in &set.peers {
        let key = wanted.public_key;
        match wanted.presence {
            Presence::Unwanted => {
                peers.remove(&key);
                moved.remove(&key);
                continue;
            }
            Presence::AsItIs if !peers.contains_key(&key) => continue,
            Presence::AsItIs | Presence::Wanted => {}
        }
        change(peers.entry(key).or_insert_with(|| nobody(key)), wanted);
        moved.extend(wanted.endpoint.map(|endpoint| (key, endpoint)));
    }
    Merged { peers: peers.into_values().collect(), moved: moved.into_iter().collect() }
}

fn change(peer: &mut PeerConfig, wanted: &PeerSet) {
    if let Some(psk) = &wanted.preshared_key {
        peer.preshared_key.clone_from(psk);
    }
    if let Some(endpoint) = wanted.endpoint {
        peer.endpoint = Some(endpoint);
    }
    if let Some(seconds) = wanted.persistent_keepalive {
        peer.persistent_keepalive = (seconds != 0).then_some(seconds);
    }
    if wanted.allowed_ips_before == Before::Replaced {
        peer.allowed_ips.clear();
    }
    for change in &wanted.allowed_ips {
        match *change {
            AllowedIp::Add(cidr) if peer.allowed_ips.contains(&cidr) => {}
            AllowedIp::Add(cidr) => peer.allowed_ips.push(cidr),
            AllowedIp::Remove(cidr) => peer.allowed_ips.retain(|held| *held != cidr),
        }
    }
}

const fn nobody(public_key: PublicKey) -> PeerConfig {
    PeerConfig {
        public_key,
        allowed_ips: Vec::new(),
        endpoint: None,
        preshared_key: None,
        persistent_keepalive: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Request, parse};
    use super::*;
    use crate::Psk;

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32]).unwrap()
    }

    fn two() -> Vec<PeerConfig> {
        let of = |byte: u8| PeerConfig {
            allowed_ips: vec![format!("10.0.0.{byte}").parse().unwrap()],
            endpoint: Some("192.0.2.1:1".parse().unwrap()),
            preshared_key: Some(Psk::from_bytes([9; 32])),
            persistent_keepalive: Some(25),
            ..nobody(key(byte))
        };
        vec![of(1), of(2)]
    }

    /// Lines, in which `P1` stands for the public key of peer 1.
    fn after(lines: &str) -> Merged {
        let mut lines = format!("set=1\n{lines}");
        for byte in 1..=3 {
            lines = lines
                .replace(&format!("P{byte}"), &format!("public_key={}", format!("{byte:02x}").repeat(32)));
        }
        match parse(lines.as_bytes()).unwrap() {
            Request::Set(set) => merge(two(), &set),
            Request::Get => panic!("a set was asked for"),
        }
    }

    fn peer(merged: &Merged, byte: u8) -> Option<&PeerConfig> {
        merged.peers.iter().find(|peer| peer.public_key == key(byte))
    }

    #[test]
    fn what_is_not_named_stays() {
        let merged = after("P1\nallowed_ip=10.9.0.0/16");
        assert_eq!(merged.peers.len(), 2);
        let mut expected = two().swap_remove(0);
        expected.allowed_ips.push("10.9.0.0/16".parse().unwrap());
        assert_eq!(peer(&merged, 1), Some(&expected));
        assert_eq!(peer(&merged, 2), two().get(1));
        assert_eq!(merged.moved, []);
    }

    #[test]
    fn peers_are_replaced_removed_made_and_only_updated() {
        let merged = after("replace_peers=true\nP3");
        assert_eq!(merged.peers, [nobody(key(3))]);
        let merged = after("P1\nremove=true\nP3\nupdate_only=true\npersistent_keepalive_interval=1");
        assert!(peer(&merged, 1).is_none() && peer(&merged, 3).is_none());
        let merged = after("P2\nupdate_only=true\npersistent_keepalive_interval=0");
        assert_eq!(peer(&merged, 2).unwrap().persistent_keepalive, None);
        let merged = after("P1\nremove=true\nP1");
        assert_eq!(peer(&merged, 1), Some(&nobody(key(1))), "removed and made anew");
    }

    #[test]
    fn allowed_ips_are_replaced_and_taken_away() {
        let merged =
            after("P1\nreplace_allowed_ips=true\nP2\nallowed_ip=10.0.0.1/32\nallowed_ip=-10.0.0.2/32");
        assert_eq!(peer(&merged, 1).unwrap().allowed_ips, []);
        assert_eq!(peer(&merged, 2).unwrap().allowed_ips, ["10.0.0.1".parse().unwrap()]);
    }

    #[test]
    fn an_endpoint_that_is_named_moves_the_peer_also_when_it_is_the_same() {
        let merged = after("P1\nendpoint=192.0.2.1:1");
        assert_eq!(merged.moved, [(key(1), "192.0.2.1:1".parse().unwrap())]);
        assert_eq!(after("P1\nendpoint=192.0.2.1:1\nP1\nremove=true").moved, []);
    }
}
