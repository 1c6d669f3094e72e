//! Snapshots for tests.

use nexa_types::{PublicKey, Revision};
use nexa_wire::snapshot::{Peer, Sealed, Snapshot};

/// The snapshot whose shape the wire tests hold.
pub fn snapshot() -> Snapshot {
    serde_json::from_str(include_str!("../../crates/nexa-wire/tests/snapshot-v1.json")).unwrap()
}

/// [`snapshot`], sealed under a revision.
pub fn sealed(revision: u64) -> Sealed {
    Sealed::new(Revision(revision), &snapshot()).unwrap()
}

/// A peer with the `n`-th device, key and addresses.
pub fn peer(n: u8) -> Peer {
    let mut peer = snapshot().peers[0].clone();
    peer.device = format!("01890000-0000-7000-8000-0000000000{n:02x}").parse().unwrap();
    peer.public_key = PublicKey::from_bytes([n; 32]).unwrap();
    peer.v4 = format!("100.96.0.{n}").parse().unwrap();
    peer.v6 = format!("fd6e:7861::{n:x}").parse().unwrap();
    peer
}
