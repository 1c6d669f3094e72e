//! What others ask of the gateway. It answers between two snapshots, so that every answer is about one of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::Utc;
use nexa_abi::engine::Verdict;
use nexa_abi::layout::{FLOW_CLOSING, FLOW_NEW, Family, FlowKey, FlowValue};
use nexa_abi::reason::Reason;
use nexa_config::near::{did_you_mean, near};
use nexa_gateway_core::explain;
use nexa_types::{DeviceId, Generation, PublicKey, RuleId};
use nexa_wire::local::{Explained, Flow, MAX_FLOWS, PeerName, PeerStatus, Phase, Query, Status, Word};
use nexa_wire::snapshot::{Peer, Snapshot};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::{Gateway, InForce, LEASE, lock};
use crate::reports::last_handshake_unix;

/// Names that resemble an unknown one, at most.
const NEAR_NAMES: usize = 3;

/// A question or a task, and where the answer goes.
pub enum Errand {
    /// How the gateway and its peers are.
    Status(oneshot::Sender<Status>),
    /// What would happen to a packet.
    Explain(Query, oneshot::Sender<anyhow::Result<Explained>>),
    /// Which conversations are live, of one device or of all.
    Flows(Option<String>, oneshot::Sender<anyhow::Result<(Vec<Flow>, u64)>>),
    /// Which device is meant.
    Find(String, oneshot::Sender<anyhow::Result<DeviceId>>),
    /// Write the policy in force anew: somebody else has written to the maps.
    Repair(oneshot::Sender<anyhow::Result<Generation>>),
}

impl Gateway {
    /// Does what is asked.
    pub async fn run(&mut self, errand: Errand) {
        // Who asked may have gone.
        match errand {
            Errand::Status(reply) => drop(reply.send(self.local_status())),
            Errand::Explain(query, reply) => drop(reply.send(self.explain(query))),
            Errand::Flows(peer, reply) => drop(reply.send(self.flows(peer.as_deref()).await)),
            Errand::Find(peer, reply) => drop(reply.send(self.find(&peer))),
            Errand::Repair(reply) => drop(reply.send(self.repair().await)),
        }
    }

    async fn repair(&mut self) -> anyhow::Result<Generation> {
        let lease_until = match &self.in_force {
            Some(in_force) => {
                self.lower(&in_force.snapshot, &in_force.local)?;
                in_force.lease_until
            }
            None => Utc::now() + LEASE,
        };
        lock(&self.dataplane).distrust();
        let generation = self.apply_policy(lease_until).await?;
        if let Some(in_force) = &self.in_force {
            self.policies.note(generation, &in_force.snapshot, &in_force.local);
        }
        Ok(generation)
    }

    fn local_status(&self) -> Status {
        let tunnel = lock(&self.tunnel);
        let (listen_port, known) = (tunnel.port(), tunnel.peers());
        drop(tunnel);
        let known: HashMap<PublicKey, _> =
            known.into_iter().map(|status| (status.public_key, status)).collect();
        let peer = |peer: &Peer| {
            let status = known.get(&peer.public_key);
            PeerStatus {
                peer: name_of(peer),
                public_key: peer.public_key,
                addresses: peer.addresses(),
                endpoint: status.and_then(|status| status.endpoint),
                last_handshake_unix: status.and_then(last_handshake_unix),
                received_bytes: status.map_or(0, |status| status.received_bytes),
                sent_bytes: status.map_or(0, |status| status.sent_bytes),
            }
        };
        let applied = self.status.applied();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interface: self.interface.to_string(),
            listen_port,
            public_key: self.public_key,
            revision: applied.as_ref().map(|applied| applied.revision),
            hash: applied.map(|applied| applied.hash),
            age_seconds: self.status.snapshot_age_seconds(),
            generation: lock(&self.dataplane).generation(),
            connected: self.status.is_connected(),
            drift_entries: self.status.drift_entries(),
            peers: self.in_force.iter().flat_map(|in_force| &in_force.snapshot.peers).map(peer).collect(),
        }
    }

    fn explain(&self, query: Query) -> anyhow::Result<Explained> {
        let in_force = self.something_in_force()?;
        let peer = find(&in_force.snapshot, &query.peer)?;
        let destination = query.destination;
        let packet = explain::Packet::of(&query, peer)?;
        let (policy, nearest) = explain(&in_force.snapshot, &in_force.local, peer, &packet, Utc::now())?;
        let reader = Arc::clone(&lock(&self.dataplane).reader());
        let (verdict, state) = reader.decide(&packet.source, &packet.tuple)?;
        Ok(Explained {
            peer: name_of(peer),
            query,
            revision: in_force.revision,
            generation: Generation(state.generation()),
            policy,
            nearest,
            kernel: match verdict.dropped {
                Some(Reason::Excluded) => explain::excluded(&in_force.snapshot, &in_force.local, destination),
                _ => word(verdict),
            },
        })
    }
}

impl Gateway {
    fn something_in_force(&self) -> anyhow::Result<&InForce> {
        let nothing = "no snapshot is in force yet, so everything is refused; `status` says why";
        self.in_force.as_ref().context(nothing)
    }

    fn find(&self, peer: &str) -> anyhow::Result<DeviceId> {
        Ok(find(&self.something_in_force()?.snapshot, peer)?.device)
    }

    async fn flows(&self, peer: Option<&str>) -> anyhow::Result<(Vec<Flow>, u64)> {
        let Some(in_force) = &self.in_force else { return Ok((Vec::new(), 0)) };
        let wanted = match peer {
            Some(peer) => vec![find(&in_force.snapshot, peer)?],
            None => in_force.snapshot.peers.iter().collect(),
        };
        let names: HashMap<IpAddr, &Peer> =
            wanted.into_iter().flat_map(|peer| peer.addresses().map(|address| (address, peer))).collect();
        let reader = lock(&self.dataplane).reader();
        let live = spawn_blocking(move || reader.flows()).await??;
        let mut flows: Vec<Flow> = live
            .iter()
            .filter_map(|(key, value, idle_ns)| {
                let source = address(key.family, key.source);
                Some(flow(names.get(&source)?, key, value, *idle_ns))
            })
            .collect();
        let total = flows.len() as u64;
        flows.sort_by_key(|flow| flow.idle_seconds);
        flows.truncate(MAX_FLOWS);
        Ok((flows, total))
    }
}

fn flow(peer: &Peer, key: &FlowKey, value: &FlowValue, idle_ns: u64) -> Flow {
    Flow {
        peer: name_of(peer),
        source: address(key.family, key.source),
        source_port: u16::from_be_bytes(key.source_port),
        destination: address(key.family, key.destination),
        destination_port: u16::from_be_bytes(key.destination_port),
        protocol: key.protocol,
        rule: RuleId(value.rule),
        phase: match value.phase() {
            FLOW_NEW => Phase::New,
            FLOW_CLOSING => Phase::Closing,
            _ => Phase::Answered,
        },
        idle_seconds: idle_ns / 1_000_000_000,
    }
}

/// An address of a key in the maps.
fn address(family: u8, bytes: [u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    if family == Family::V4 as u8 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(bytes) }
}

fn name_of(peer: &Peer) -> PeerName {
    PeerName { device: peer.device, name: peer.name.clone(), owner: peer.owner.clone() }
}

fn word(verdict: Verdict) -> Word {
    let rule = RuleId(verdict.rule);
    match verdict.dropped {
        None => Word::Allow { rule },
        Some(Reason::RuleDeny) => Word::Deny { rule },
        Some(Reason::NoRule) => Word::NoRule,
        Some(reason) => Word::Drop { reason: reason.as_str().to_owned() },
    }
}

/// The device that is meant by a name, an id, a key or an address.
fn find<'a>(snapshot: &'a Snapshot, wanted: &str) -> anyhow::Result<&'a Peer> {
    let peers = || snapshot.peers.iter();
    if let Ok(address) = wanted.parse::<IpAddr>() {
        return peers()
            .find(|peer| peer.addresses().contains(&address))
            .with_context(|| format!("no device has the address {address}"));
    }
    let called: Vec<&Peer> = peers().filter(|peer| peer.name == wanted).collect();
    match called[..] {
        [peer] => return Ok(peer),
        [] => {}
        _ => {
            let ids: Vec<_> =
                called.iter().map(|peer| format!("{} of {}", peer.device, peer.owner)).collect();
            anyhow::bail!("{} devices are called {wanted}; ask by id: {}", ids.len(), ids.join(", "));
        }
    }
    let device = wanted.parse::<DeviceId>().ok();
    let key = wanted.parse::<PublicKey>().ok();
    let meant = |peer: &&Peer| Some(peer.device) == device || Some(peer.public_key) == key;
    peers().find(meant).with_context(|| {
        let question = did_you_mean(&near(wanted, peers().map(|peer| peer.name.as_str()), NEAR_NAMES));
        format!("no device that is served here is called {wanted}{question}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_device_is_found_by_all_that_names_it_and_near_names_are_told() {
        let mut snapshot = fixture::snapshot();
        let (mut other, mut twin) = (fixture::peer(7), fixture::peer(8));
        other.name = "desktop".to_owned();
        twin.name = "desktop".to_owned();
        let laptop = snapshot.peers[0].clone();
        snapshot.peers.extend([other, twin]);
        for name in [
            "laptop",
            "100.96.0.2",
            "fd6e:7861:0::2",
            &laptop.device.to_string(),
            &laptop.public_key.to_string(),
        ] {
            assert_eq!(find(&snapshot, name).unwrap(), &laptop, "{name}");
        }
        let refusal = |name| find(&snapshot, name).unwrap_err().to_string();
        assert!(refusal("lptop").ends_with("; did you mean laptop?"));
        assert!(refusal("printer").ends_with("is called printer"));
        assert!(refusal("100.96.0.9").contains("no device has the address"));
        assert!(refusal("desktop").contains(&fixture::peer(8).device.to_string()));
    }
}
