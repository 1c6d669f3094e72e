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

/// How far the file may lag behind in the time of a handshake, which only orders the peers.
const NEWS_SECONDS: u64 = 600;

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

    /// Where these peers were last, the most recent first: the engine greets them one after the other.
    pub fn of(&self, keys: impl IntoIterator<Item = PublicKey>) -> Vec<(PublicKey, SocketAddr)> {
        let known = keys.into_iter().filter_map(|key| Some((key, *self.known.get(&key.to_string())?)));
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.handshake_unix));
        known.into_iter().map(|(key, seen)| (key, seen.endpoint)).collect()
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
        if !self.is_news(&known) {
            return;
        }
        let written = serde_json::to_vec(&known).map_err(Into::into);
        match written.and_then(|text| files::write_atomic(&self.file, &text)) {
            Ok(()) => self.known = known,
            Err(error) => tracing::debug!("cannot write {}: {error}", self.file.display()),
        }
    }
}

impl Endpoints {
    /// A handshake alone, every two minutes with each peer, is no reason to write.
    fn is_news(&self, known: &BTreeMap<String, Seen>) -> bool {
        let differs = |(key, seen): (&String, &Seen)| {
            self.known.get(key).is_none_or(|before| {
                before.endpoint != seen.endpoint || before.handshake_unix + NEWS_SECONDS < seen.handshake_unix
            })
        };
        known.len() != self.known.len() || known.iter().any(differs)
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

    fn places(of: &Endpoints, peers: &[u8]) -> Vec<String> {
        let places = of.of(peers.iter().map(|n| peer(*n).public_key));
        places.into_iter().map(|(_, endpoint)| endpoint.to_string()).collect()
    }

    #[test]
    fn endpoints_survive_a_restart_the_most_recent_first() {
        let folder = tempfile::tempdir().unwrap();
        Endpoints::load(folder.path()).update(&[
            status(2, Some(1000)),
            status(3, None),
            status(4, Some(2000)),
        ]);
        let mut again = Endpoints::load(folder.path());
        assert_eq!(
            places(&again, &[2, 3, 4]),
            ["192.0.2.4:51820", "192.0.2.2:51820"],
            "3 never authenticated"
        );
        again.update(&[status(2, None)]);
        assert_eq!(
            places(&Endpoints::load(folder.path()), &[2, 4]),
            ["192.0.2.2:51820"],
            "2 is silent, 4 is gone"
        );
    }

    #[test]
    fn only_news_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut endpoints = Endpoints::load(folder.path());
        endpoints.update(&[status(2, Some(1000))]);
        let file = folder.path().join("endpoints.json");
        fs::remove_file(&file).unwrap();
        endpoints.update(&[status(2, Some(1120))]);
        assert!(!file.exists());
        let moved = PeerStatus { endpoint: Some("198.51.100.1:1".parse().unwrap()), ..status(2, Some(1120)) };
        endpoints.update(&[moved]);
        assert_eq!(places(&Endpoints::load(folder.path()), &[2]), ["198.51.100.1:1"]);
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("endpoints.json"), "{\"x\":").unwrap();
        assert!(places(&Endpoints::load(folder.path()), &[2]).is_empty());
    }
}
