//! Where peers were last, on disk: after a restart the gateway speaks first, and clients need not wait for their own
//! timers.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use nexa_types::PublicKey;
use serde::{Deserialize, Serialize};

use crate::files;
use nexa_tunnel::PeerStatus;

/// Endpoints of recent peers, and the file that holds them.
#[derive(Debug)]
pub struct Endpoints {
    file: PathBuf,
    known: BTreeMap<String, Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    endpoint: SocketAddr,
    handshake_unix: u64,
}

impl Endpoints {
    /// Reads the file in `state_dir`. A missing or damaged one costs clients some seconds, no more.
    pub fn load(state_dir: &Path) -> Self {
        let file = state_dir.join("endpoints.json");
        let known = match fs::read(&file).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                tracing::warn!(
                    "{} cannot be read ({error}); clients will reconnect by themselves",
                    file.display()
                );
                BTreeMap::new()
            }
            Err(_) => BTreeMap::new(),
        };
        Self { file, known }
    }

    /// Where a peer was last.
    pub fn of(&self, key: PublicKey) -> Option<SocketAddr> {
        self.known.get(&key.to_string()).map(|seen| seen.endpoint)
    }

    /// Takes over what the engine knows and writes it if it differs. Peers that have not spoken since the restart
    /// keep what was known; those that are no peers any more are forgotten.
    pub fn update(&mut self, statuses: &[PeerStatus]) {
        let known = statuses.iter().filter_map(|status| {
            let key = status.public_key.to_string();
            let now =
                status.last_handshake.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).and_then(|at| {
                    status.endpoint.map(|endpoint| Seen { endpoint, handshake_unix: at.as_secs() })
                });
            let seen = now.or_else(|| self.known.get(&key).copied())?;
            Some((key, seen))
        });
        let known: BTreeMap<_, _> = known.collect();
        if known == self.known {
            return;
        }
        let written = serde_json::to_vec(&known).map_err(Into::into);
        match written.and_then(|text| files::write_atomic(&self.file, &text)) {
            Ok(()) => self.known = known,
            Err(error) => tracing::debug!("cannot write {}: {error}", self.file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixture::peer;

    fn status(n: u8, handshake_unix: Option<u64>) -> PeerStatus {
        PeerStatus {
            public_key: peer(n).public_key,
            endpoint: Some(format!("192.0.2.{n}:51820").parse().unwrap()),
            last_handshake: handshake_unix.map(|unix| UNIX_EPOCH + Duration::from_secs(unix)),
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    #[test]
    fn endpoints_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        Endpoints::load(folder.path()).update(&[status(2, Some(1000)), status(3, None)]);
        let mut again = Endpoints::load(folder.path());
        assert_eq!(again.of(peer(2).public_key), Some("192.0.2.2:51820".parse().unwrap()));
        assert_eq!(again.of(peer(3).public_key), None, "never authenticated");
        again.update(&[status(2, None)]);
        assert!(Endpoints::load(folder.path()).of(peer(2).public_key).is_some(), "silent since the restart");
        again.update(&[]);
        assert_eq!(Endpoints::load(folder.path()).of(peer(2).public_key), None, "no peer any more");
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("endpoints.json"), "{\"x\":").unwrap();
        assert_eq!(Endpoints::load(folder.path()).of(peer(2).public_key), None);
    }
}
