//! What the rules say of a packet that nobody sent, in the words of the local socket.

use std::collections::HashMap;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use nexa_abi::layout::{FlowKey, PeerKey};
use nexa_abi::packet::{ICMP, ICMPV6, TCP, UDP};
use nexa_abi::reason::Reason;
use nexa_policy::explain::{self as policy, Difference};
use nexa_policy::{Decision, Model, Probe};
use nexa_types::Protocol;
use nexa_wire::drops::Route;
use nexa_wire::local::{self, Query, Word};
use nexa_wire::snapshot::{Peer, Snapshot};

use crate::lower::{LowerError, peer_key};
use crate::model::{self, ModelError};

/// Type and code of an echo request, as policy and the maps have them for a port.
const ECHO: [(u8, u16); 2] = [(ICMP, 0x0800), (ICMPV6, 0x8000)];

/// Why a question does not describe a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Every protocol at once.
    #[error("`any` is no protocol of a packet; use tcp, udp, icmp or a protocol number from 0 to 255")]
    AnyProtocol,
    /// A packet has one port.
    #[error("say which port of {0} is meant")]
    PortMissing(Protocol),
    /// Only TCP and UDP have ports.
    #[error("protocol {0} has no ports; leave the port out")]
    PortsWithout(Protocol),
}

/// A packet as the rules and as the maps are asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whose it is, as PEERS knows it.
    pub source: PeerKey,
    /// Where it goes, as the engine has it.
    pub tuple: FlowKey,
    probe: Probe,
}

impl Packet {
    /// The packet that `query` describes, sent by `peer`. ICMP is an echo request.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn of(query: &Query, peer: &Peer) -> Result<Self, QueryError> {
        let [v4, v6] = peer.addresses();
        let source = peer_key(if query.destination.is_ipv4() { v4 } else { v6 });
        let destination = peer_key(query.destination);
        let (protocol, port) = numbers(query)?;
        let tuple = FlowKey {
            source: source.address,
            destination: destination.address,
            source_port: [0; 2],
            destination_port: port.to_be_bytes(),
            // A family fits in a byte.
            family: source.family as u8,
            protocol,
            answers: 0,
            zero: 0,
        };
        Ok(Self { source, tuple, probe: Probe { destination: query.destination, protocol, port } })
    }
}

fn numbers(query: &Query) -> Result<(u8, u16), QueryError> {
    let echo = ECHO[usize::from(query.destination.is_ipv6())];
    match (query.protocol, query.port) {
        (Protocol::Any, _) => Err(QueryError::AnyProtocol),
        (Protocol::Tcp, Some(port)) => Ok((TCP, port)),
        (Protocol::Udp, Some(port)) => Ok((UDP, port)),
        (protocol @ (Protocol::Tcp | Protocol::Udp), None) => Err(QueryError::PortMissing(protocol)),
        (protocol, Some(_)) => Err(QueryError::PortsWithout(protocol)),
        (Protocol::Icmp, None) => Ok(echo),
        (Protocol::Number(number), None) => Ok((number, 0)),
    }
}

/// What the rules of a snapshot say of a packet at an instant, and the rule that came closest to allowing it. `local` are the gateway's
/// own addresses, as for [`crate::lower()`].
///
/// # Errors
/// When the snapshot contradicts itself or does not hold `peer`.
pub fn explain(
    snapshot: &Snapshot,
    local: &[IpAddr],
    peer: &Peer,
    packet: &Packet,
    at: DateTime<Utc>,
) -> Result<(Word, Option<local::NearMiss>), LowerError> {
    let model = model::from_snapshot(snapshot, local)?;
    let Some(peer) = model.peers.iter().find(|known| known.device == peer.device) else {
        return Ok((Word::Drop { reason: "unknown_source".to_owned() }, None));
    };
    let explained = nexa_policy::explain(&model, peer, &packet.probe, at);
    let word = match explained.decision {
        Decision::Allow(rule) => Word::Allow { rule },
        Decision::Deny(rule) => Word::Deny { rule },
        Decision::NoRule => Word::NoRule,
        Decision::Excluded => excluded(snapshot, local, packet.probe.destination),
    };
    Ok((word, explained.nearest.map(near_miss)))
}

/// The word on a packet that no rule speaks of, to an address that no resource covers. `local` as in [`explain()`].
pub fn excluded(snapshot: &Snapshot, local: &[IpAddr], destination: IpAddr) -> Word {
    match model::exclusion(&snapshot.network, local, destination) {
        Some(what) => Word::Excluded { what },
        // The maps that said so are of another policy.
        None => Word::Drop { reason: Reason::Excluded.as_str().to_owned() },
    }
}

/// The rules of a snapshot, ready to be asked about many packets.
#[derive(Debug)]
pub struct Rules {
    model: Model,
    /// Positions in the model.
    peers: HashMap<IpAddr, usize>,
}

impl Rules {
    /// Reads a snapshot; `local` as in [`explain()`].
    ///
    /// # Errors
    /// When the snapshot contradicts itself.
    pub fn new(snapshot: &Snapshot, local: &[IpAddr]) -> Result<Self, ModelError> {
        let model = model::from_snapshot(snapshot, local)?;
        let addresses = |(position, peer): (usize, &nexa_policy::model::Peer)| {
            peer.addresses.iter().map(move |address| (*address, position)).collect::<Vec<_>>()
        };
        let peers = model.peers.iter().enumerate().flat_map(addresses).collect();
        Ok(Self { model, peers })
    }

    /// The rule that came closest to allowing what a device sent at an instant, where no rule spoke of it.
    pub fn nearest(&self, route: &Route, at: DateTime<Utc>) -> Option<local::NearMiss> {
        let peer = self.model.peers.get(*self.peers.get(&route.source)?)?;
        let &Route { destination, protocol, destination_port: port, .. } = route;
        let probe = Probe { destination, protocol, port };
        let explained = nexa_policy::explain(&self.model, peer, &probe, at);
        explained.nearest.map(near_miss)
    }
}

fn near_miss(miss: policy::NearMiss) -> local::NearMiss {
    let differs = match miss.differs {
        Difference::Time { next } => local::Difference::Time { next },
        Difference::Port(allowed) => local::Difference::Port { allowed },
        Difference::Protocol(allowed) => local::Difference::Protocol { allowed },
        Difference::Subject => local::Difference::Subject,
        Difference::Destination => local::Difference::Destination,
    };
    local::NearMiss { rule: miss.rule, differs }
}
