//! The stream between a gateway and the control plane: one outbound WebSocket at [`PATH`], JSON text frames.
//!
//! The gateway authenticates with `Authorization: Bearer <token>`, sends [`FromGateway::Hello`] first and then
//! acknowledges each snapshot. The server answers the hello with a snapshot and sends another whenever the state
//! changed. Revisions only rise: a gateway passes over a snapshot that is older than the one in force, and a server
//! whose data are behind a gateway's, as after a restore from a backup, numbers on from there before it sends one.
//!
//! A frame of an unknown kind is ignored by both sides, so that either may be upgraded first; a change that the other
//! side must not ignore raises [`PROTOCOL`].

use std::collections::BTreeMap;

use nexa_types::{DeviceId, Generation, PublicKey, Revision, RuleId};
use serde::{Deserialize, Serialize};

use crate::drops::{Direction, Dropped};
use crate::snapshot::Sealed;

/// Version of this protocol, in the hello. The server refuses a gateway of another version with close code 4400.
pub const PROTOCOL: u32 = 1;

/// Where the control plane serves the stream.
pub const PATH: &str = "/api/v1/gateway/stream";

/// Most drops in one frame.
pub const MAX_DROPS: usize = 256;

/// Most devices, and most rules, in one frame of counters.
pub const MAX_COUNTERS: usize = 2000;

/// The largest frame that a gateway accepts, bytes: 10,000 peers and 100,000 prefixes take about 10 MB.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// What a gateway sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromGateway {
    /// First frame of a connection.
    Hello {
        /// [`PROTOCOL`] of the gateway.
        protocol: u32,
        /// Version of the gateway's program.
        version: String,
        /// The gateway's WireGuard key, made on the gateway.
        public_key: PublicKey,
        /// The snapshot in force, if any.
        applied: Option<Revision>,
        /// The hash of the snapshot in force. With its revision it tells the server whether its own data are the
        /// continuation of what this gateway has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        applied_hash: Option<String>,
    },
    /// A snapshot is in force, in the kernel and in the tunnel.
    Ack {
        /// Which.
        revision: Revision,
    },
    /// A snapshot was refused as a whole; the last good one stays in force.
    Refused {
        /// Which.
        revision: Revision,
        /// Why, in words for an operator.
        reason: String,
    },
    /// Traffic of devices since the gateway started, sent at most every few seconds and only for changed peers.
    Peers {
        /// One entry per peer whose figures changed.
        peers: Vec<PeerReport>,
    },
    /// How the policy is enforced, sent when it changed.
    Health(Health),
    /// What the programs counted, sent at most every few seconds and only what changed.
    Counters(Counters),
    /// Packets that were dropped lately. What a connection loses of these is not sent again.
    Drops {
        /// At most [`MAX_DROPS`].
        drops: Vec<DropReport>,
        /// How many others there were that are not told.
        missed: u64,
    },
    /// A type that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What the gateway knows of a peer's tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The device.
    pub device: DeviceId,
    /// Last completed handshake, seconds since 1970; absent before the first.
    pub last_handshake_unix: Option<u64>,
    /// Bytes received from the device, as WireGuard counts them.
    pub received_bytes: u64,
    /// Bytes sent to the device, as WireGuard counts them.
    pub sent_bytes: u64,
}

/// How a gateway enforces its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The generation of the kernel's maps.
    pub generation: Generation,
    /// Hash of what the kernel's maps held when that was last looked at; none before. Comparable with the same
    /// gateway's only.
    pub content_hash: Option<String>,
    /// Entries of the kernel's maps that were not as they should be when that was last looked at; none before.
    pub drift_entries: Option<u64>,
    /// How often the policy was written anew over such entries, since the gateway started.
    pub policy_repairs: u64,
    /// The snapshot that was refused last, until one is in force.
    pub refusal: Option<Refusal>,
}

/// A snapshot that was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which.
    pub revision: Revision,
    /// Why, in words for an operator.
    pub reason: String,
}

/// What the programs counted. A counter may begin anew at zero at any time: when the host starts, when a rule or device
/// comes back, when the maps are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Devices whose counters changed; at most [`MAX_COUNTERS`].
    pub peers: Vec<PeerCounters>,
    /// Rules whose counters changed; at most [`MAX_COUNTERS`].
    pub rules: Vec<RuleCounters>,
    /// Packets that were dropped, whosever they were.
    pub drops: Vec<DropCounter>,
}

/// What was counted of a device. Packets are segments, bytes those of IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCounters {
    /// The device.
    pub device: DeviceId,
    /// Packets from it, dropped ones too.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets admitted to it.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets from and to it that were dropped, by the name of the reason.
    pub drops: BTreeMap<String, u64>,
}

/// What a rule decided on, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCounters {
    /// The rule; 0 is what every peer may reach without one, and null is what no rule speaks of.
    pub rule: Option<RuleId>,
    /// Packets that it let pass.
    pub allowed_packets: u64,
    /// Their bytes.
    pub allowed_bytes: u64,
    /// Packets that it refused.
    pub denied_packets: u64,
    /// Their bytes.
    pub denied_bytes: u64,
}

/// Packets that were dropped for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCounter {
    /// The name of the reason.
    pub reason: String,
    /// Which way they went.
    pub direction: Direction,
    /// How many.
    pub packets: u64,
}

/// Packets of a device, or for one, that were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropReport {
    /// The device; none where no device has the address.
    pub device: Option<DeviceId>,
    /// The packets.
    #[serde(flatten)]
    pub dropped: Dropped,
}

/// What the control plane sends. A frame holds one member; one without a known member is of a later version.
///
/// A struct and no tagged enum, because serde buffers a tagged enum's content, and a snapshot's text must reach
/// its hash check byte for byte.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ToGateway {
    /// The state to serve from now on, instead of any earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Sealed>,
}
