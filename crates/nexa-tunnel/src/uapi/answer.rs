use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use nexa_types::PublicKey;
use zeroize::Zeroizing;

use crate::{PeerConfig, PeerStatus, PrivateKey};

/// Everything that a `get` tells.
pub(super) struct Told<'a> {
    /// The tunnel's own key, if it was given one.
    pub(super) private_key: Option<&'a PrivateKey>,
    pub(super) listen_port: u16,
    pub(super) fwmark: u32,
    pub(super) configured: &'a [PeerConfig],
    pub(super) statuses: &'a [PeerStatus],
}

/// The lines of an answer, before the one with the error's number.
pub(super) fn write(told: &Told<'_>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(256 + told.configured.len() * 512));
    // Writing to a string does not fail.
    if let Some(key) = told.private_key {
        let _ = writeln!(text, "private_key={}", *hex(&key.to_bytes()));
    }
    let _ = writeln!(text, "listen_port={}", told.listen_port);
    if told.fwmark != 0 {
        let _ = writeln!(text, "fwmark={}", told.fwmark);
    }
    let statuses: HashMap<PublicKey, &PeerStatus> =
        told.statuses.iter().map(|status| (status.public_key, status)).collect();
    for peer in told.configured {
        write_peer(&mut text, peer, statuses.get(&peer.public_key).copied());
    }
    text
}

fn write_peer(text: &mut String, peer: &PeerConfig, status: Option<&PeerStatus>) {
    let _ = writeln!(text, "public_key={}", *hex(peer.public_key.as_bytes()));
    if let Some(psk) = &peer.preshared_key {
        let _ = writeln!(text, "preshared_key={}", *hex(psk.as_bytes()));
    }
    let _ = writeln!(text, "protocol_version=1");
    if let Some(endpoint) = status.map_or(peer.endpoint, |status| status.endpoint) {
        let _ = writeln!(text, "endpoint={endpoint}");
    }
    if let Some(status) = status {
        let since =
            status.last_handshake.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let _ = writeln!(text, "last_handshake_time_sec={}", since.as_secs());
        let _ = writeln!(text, "last_handshake_time_nsec={}", since.subsec_nanos());
        let _ = writeln!(text, "tx_bytes={}", status.sent_bytes);
        let _ = writeln!(text, "rx_bytes={}", status.received_bytes);
    }
    let _ = writeln!(text, "persistent_keepalive_interval={}", peer.persistent_keepalive.unwrap_or(0));
    for cidr in &peer.allowed_ips {
        // A lone address is written with its length, as `wg` reads it.
        let _ = writeln!(text, "allowed_ip={}", cidr.net());
    }
}

fn hex(bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(64));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Psk;

    #[test]
    fn an_answer_has_the_lines_that_wg_reads() {
        let public_key = PublicKey::from_bytes([0xab; 32]).unwrap();
        let peer = PeerConfig {
            public_key,
            allowed_ips: vec!["10.0.0.1".parse().unwrap(), "fd00::/8".parse().unwrap()],
            endpoint: Some("192.0.2.1:1".parse().unwrap()),
            preshared_key: Some(Psk::from_bytes([1; 32])),
            persistent_keepalive: Some(25),
        };
        let status = PeerStatus {
            public_key,
            endpoint: Some("[2001:db8::1]:2".parse().unwrap()),
            last_handshake: Some(UNIX_EPOCH + Duration::new(7, 8)),
            received_bytes: 3,
            sent_bytes: 4,
        };
        let private = PrivateKey::from_bytes([0x40; 32]);
        let text = write(&Told {
            private_key: Some(&private),
            listen_port: 51820,
            fwmark: 7,
            configured: &[peer],
            statuses: &[status],
        });
        let (own, key, psk) = ("40".repeat(32), "ab".repeat(32), "01".repeat(32));
        assert_eq!(
            *text,
            format!(
                "private_key={own}\nlisten_port=51820\nfwmark=7\npublic_key={key}\npreshared_key={psk}\n\
                 protocol_version=1\nendpoint=[2001:db8::1]:2\nlast_handshake_time_sec=7\nlast_handshake_time_nsec=8\n\
                 tx_bytes=4\nrx_bytes=3\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.1/32\nallowed_ip=fd00::/8\n"
            )
        );
    }

    #[test]
    fn what_was_not_set_is_not_told() {
        let told = Told { private_key: None, listen_port: 1, fwmark: 0, configured: &[], statuses: &[] };
        assert_eq!(*write(&told), "listen_port=1\n");
    }
}
