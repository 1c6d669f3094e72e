//! Snapshots for tests.

use nexa_types::{Generation, PublicKey, Revision, RuleId};
use nexa_wire::drops::{Direction, Dropped, Route};
use nexa_wire::local::{Difference, NearMiss};
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

/// Three packets of a device to a port that no rule speaks of.
pub fn dropped(port: u16) -> Dropped {
    let at = "2026-11-25T02:00:00Z".parse().unwrap();
    let allowed = vec!["443".parse().unwrap()];
    Dropped {
        first_at: at,
        last_at: at,
        packets: 3,
        untold_packets: 0,
        direction: Direction::Ingress,
        route: Some(Route {
            source: "100.96.0.2".parse().unwrap(),
            source_port: 40_000,
            destination: "10.20.0.10".parse().unwrap(),
            destination_port: port,
            protocol: 6,
        }),
        reason: "no_rule".to_owned(),
        rule: None,
        generation: Generation(5),
        excluded: None,
        nearest: Some(NearMiss { rule: RuleId(17), differs: Difference::Port { allowed } }),
    }
}
