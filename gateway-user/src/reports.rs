//! What the control plane is told of the peers' tunnels, and of what the programs counted: only what changed.

mod counters;

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use nexa_types::PublicKey;
use nexa_wire::gateway::PeerReport;

use crate::status::PeerName;
use nexa_tunnel::PeerStatus;

pub use counters::CounterReports;

/// What was told last of the tunnels.
#[derive(Debug, Default)]
pub struct Reports {
    told: HashMap<PublicKey, PeerReport>,
}

impl Reports {
    /// Forgets what was told: a new connection may lead to another server.
    pub fn forget(&mut self) {
        self.told.clear();
    }

    /// The reports of peers whose figures are not those told last. Peers that `names` does not know are left out.
    pub fn changed(
        &mut self,
        statuses: &[PeerStatus],
        names: &HashMap<PublicKey, PeerName>,
    ) -> Vec<PeerReport> {
        self.told.retain(|key, _| names.contains_key(key));
        let mut changed = Vec::new();
        for status in statuses {
            let Some(name) = names.get(&status.public_key) else { continue };
            let report = PeerReport {
                device: name.device,
                last_handshake_unix: last_handshake_unix(status),
                received_bytes: status.received_bytes,
                sent_bytes: status.sent_bytes,
            };
            let untouched =
                report.last_handshake_unix.is_none() && report.received_bytes == 0 && report.sent_bytes == 0;
            let told = self.told.get(&status.public_key);
            if told != Some(&report) && !(told.is_none() && untouched) {
                self.told.insert(status.public_key, report.clone());
                changed.push(report);
            }
        }
        changed
    }
}

/// A peer's last handshake, seconds since 1970.
pub fn last_handshake_unix(status: &PeerStatus) -> Option<u64> {
    status.last_handshake.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::peer;

    fn status(n: u8, received_bytes: u64) -> PeerStatus {
        let public_key = peer(n).public_key;
        PeerStatus { public_key, endpoint: None, last_handshake: None, received_bytes, sent_bytes: 0 }
    }

    fn names(of: &[u8]) -> HashMap<PublicKey, PeerName> {
        let name = |n: &u8| PeerName {
            device: peer(*n).device,
            name: String::new(),
            addresses: peer(*n).addresses(),
        };
        of.iter().map(|n| (peer(*n).public_key, name(n))).collect()
    }

    #[test]
    fn only_changed_peers_are_told() {
        let mut reports = Reports::default();
        let names = names(&[2, 3]);
        let first = reports.changed(&[status(2, 100), status(3, 0), status(9, 5)], &names);
        assert_eq!(first.iter().map(|report| report.device).collect::<Vec<_>>(), [peer(2).device]);
        assert_eq!(reports.changed(&[status(2, 100), status(3, 0)], &names), []);
        assert_eq!(reports.changed(&[status(2, 100), status(3, 7)], &names)[0].received_bytes, 7);
        reports.forget();
        assert_eq!(reports.changed(&[status(2, 100), status(3, 7)], &names).len(), 2);
    }
}
