//! What the parts of the daemon tell each other and the metrics: a few numbers, no policy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use nexa_types::{DeviceId, PublicKey, Revision};
use nexa_wire::gateway::Refusal;
use nexa_wire::snapshot::Snapshot;

use crate::store;
use crate::stream::{self, Cause};

/// Shared by all tasks.
#[derive(Debug, Default)]
pub struct Status {
    connected: AtomicBool,
    guard_repairs: AtomicU64,
    refusals: [AtomicU64; Cause::ALL.len()],
    outdated: AtomicU64,
    stored: AtomicBool,
    /// Seconds since 1970; 0 while no snapshot was ever confirmed.
    confirmed_unix: AtomicU64,
    applied: RwLock<Option<Applied>>,
    /// One more than the entries found different; 0 while nobody has looked.
    drift: AtomicU64,
    content_hash: RwLock<Option<String>>,
    policy_repairs: AtomicU64,
    pin_repairs: AtomicU64,
    refusal: RwLock<Option<Refusal>>,
}

/// The snapshot in force.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its number.
    pub revision: Revision,
    /// Its hash.
    pub hash: String,
    /// Its peers.
    pub peers: Arc<HashMap<PublicKey, PeerName>>,
}

/// How a peer is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Its addresses in the tunnel.
    pub addresses: [IpAddr; 2],
}

impl Applied {
    /// Takes what is told of a snapshot that is in force.
    pub fn new(revision: Revision, hash: String, snapshot: &Snapshot) -> Self {
        let name = |peer: &nexa_wire::snapshot::Peer| PeerName {
            device: peer.device,
            name: peer.name.clone(),
            addresses: peer.addresses(),
        };
        let peers = snapshot.peers.iter().map(|peer| (peer.public_key, name(peer))).collect();
        Self { revision, hash, peers: Arc::new(peers) }
    }
}

impl Status {
    /// Whether the control plane's stream is up.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Notes whether the control plane's stream is up.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// How often the guard had to be put back.
    pub fn guard_repairs(&self) -> u64 {
        self.guard_repairs.load(Ordering::Relaxed)
    }

    /// Counts that the guard had to be put back.
    pub fn count_guard_repair(&self) {
        self.guard_repairs.fetch_add(1, Ordering::Relaxed);
    }

    /// How many snapshots were refused for a cause.
    pub fn refusals(&self, cause: Cause) -> u64 {
        self.refusals[cause as usize].load(Ordering::Relaxed)
    }

    /// Notes and counts a refused snapshot.
    pub fn set_refused(&self, revision: Revision, refused: &stream::Refusal) {
        self.refusals[refused.cause as usize].fetch_add(1, Ordering::Relaxed);
        *write(&self.refusal) = Some(Refusal { revision, reason: refused.reason.clone() });
    }

    /// The snapshot that was refused last, until one is in force.
    pub fn refusal(&self) -> Option<Refusal> {
        read(&self.refusal).clone()
    }

    /// How many snapshots were passed over because a newer one was in force.
    pub fn outdated(&self) -> u64 {
        self.outdated.load(Ordering::Relaxed)
    }

    /// Counts a snapshot that was passed over because a newer one was in force.
    pub fn count_outdated(&self) {
        self.outdated.fetch_add(1, Ordering::Relaxed);
    }

    /// Entries of the kernel's maps that were not as they should be when that was last looked at.
    pub fn drift_entries(&self) -> Option<u64> {
        self.drift.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Hash of what the kernel's maps held when that was last looked at.
    pub fn content_hash(&self) -> Option<String> {
        read(&self.content_hash).clone()
    }

    /// Notes what the kernel's maps hold, and how many entries are not as they should be.
    pub fn set_verified(&self, content_hash: &str, drift_entries: u64) {
        *write(&self.content_hash) = Some(content_hash.to_owned());
        self.drift.store(drift_entries.saturating_add(1), Ordering::Relaxed);
    }

    /// How often the policy was written anew over entries that were not as they should be.
    pub fn policy_repairs(&self) -> u64 {
        self.policy_repairs.load(Ordering::Relaxed)
    }

    /// Counts that the policy was written anew.
    pub fn count_policy_repair(&self) {
        self.policy_repairs.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was pinned again.
    pub fn pin_repairs(&self) -> u64 {
        self.pin_repairs.load(Ordering::Relaxed)
    }

    /// Counts that something was pinned again.
    pub fn count_pin_repair(&self) {
        self.pin_repairs.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the snapshot in force is on disk.
    pub fn is_stored(&self) -> bool {
        self.stored.load(Ordering::Relaxed)
    }

    /// Notes whether the snapshot in force is on disk.
    pub fn set_stored(&self, stored: bool) {
        self.stored.store(stored, Ordering::Relaxed);
    }

    /// The snapshot in force.
    pub fn applied(&self) -> Option<Applied> {
        read(&self.applied).clone()
    }

    /// Notes the snapshot in force.
    pub fn set_applied(&self, applied: Applied) {
        *write(&self.applied) = Some(applied);
        *write(&self.refusal) = None;
    }

    /// Notes when the control plane last confirmed the snapshot in force, seconds since 1970.
    pub fn set_confirmed_unix(&self, unix: u64) {
        self.confirmed_unix.store(unix, Ordering::Relaxed);
    }

    /// When the control plane last confirmed the snapshot in force; `None` if it never did.
    pub fn confirmed_at(&self) -> Option<DateTime<Utc>> {
        let unix = self.confirmed_unix.load(Ordering::Relaxed);
        i64::try_from(unix).ok().filter(|unix| *unix > 0).and_then(|unix| DateTime::from_timestamp(unix, 0))
    }

    /// Seconds since the control plane last confirmed the snapshot in force; `None` while there is none.
    pub fn snapshot_age_seconds(&self) -> Option<u64> {
        self.applied()?;
        Some(store::now_unix().saturating_sub(self.confirmed_unix.load(Ordering::Relaxed)))
    }
}

fn read<T>(value: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    value.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(value: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    value.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_age_is_that_of_the_last_confirmation() {
        let status = Status::default();
        assert_eq!(status.snapshot_age_seconds(), None);
        status.set_applied(Applied::new(Revision(1), String::new(), &fixture::snapshot()));
        status.set_confirmed_unix(store::now_unix() - 100);
        assert!((100..160).contains(&status.snapshot_age_seconds().unwrap()));
        status.set_confirmed_unix(store::now_unix());
        assert!(status.snapshot_age_seconds().unwrap() < 60);
    }
}
