//! The names that exporters for WireGuard use, for dashboards that are there already.

use std::collections::HashMap;

use nexa_tunnel::PeerStatus;
use nexa_types::PublicKey;

use super::collector::Families;
use crate::config::InterfaceName;
use crate::reports::last_handshake_unix;
use crate::status::PeerName;

const LABELS: [&str; 3] = ["interface", "public_key", "allowed_ips"];

/// Traffic and handshakes of the peers that `names` knows.
pub fn families(
    interface: &InterfaceName,
    statuses: &[PeerStatus],
    names: &HashMap<PublicKey, PeerName>,
    families: &mut Families,
) {
    let labelled = || {
        statuses.iter().filter_map(|status| {
            let [v4, v6] = names.get(&status.public_key)?.addresses;
            let labels =
                vec![interface.to_string(), status.public_key.to_string(), format!("{v4}/32,{v6}/128")];
            Some((labels, status))
        })
    };
    let help = "Bytes sent to the peer.";
    let sent = labelled().map(|(labels, status)| (labels, status.sent_bytes));
    families.counter("wireguard_sent_bytes_total", help, &LABELS, sent);
    let help = "Bytes received from the peer.";
    let received = labelled().map(|(labels, status)| (labels, status.received_bytes));
    families.counter("wireguard_received_bytes_total", help, &LABELS, received);
    let help = "When the last handshake was, seconds since 1970; 0 before the first.";
    let handshakes =
        labelled().map(|(labels, status)| (labels, last_handshake_unix(status).unwrap_or_default() as f64));
    families.gauge("wireguard_latest_handshake_seconds", help, &LABELS, handshakes);
}
