//! The stream between a gateway and the control plane: one outbound WebSocket at [`PATH`], JSON text frames.
//!
//! The gateway authenticates with `Authorization: Bearer <token>`, sends [`FromGateway::Hello`] first and then
//! acknowledges each snapshot. The server answers the hello with a snapshot and sends another whenever the state
//! changed. Revisions only rise: a gateway passes over a snapshot that is older than the one in force, and a server
//! whose data are behind a gateway's, as after a restore from a backup, numbers on from there before it sends one.
//!
//! A frame of an unknown kind is ignored by both sides, so that either may be upgraded first; a change that the other
//! side must not ignore raises [`PROTOCOL`].

use nexa_types::{DeviceId, PublicKey, Revision};
use serde::{Deserialize, Serialize};

use crate::snapshot::Sealed;

/// Version of this protocol, in the hello. The server refuses a gateway of another version with close code 4400.
pub const PROTOCOL: u32 = 1;

/// Where the control plane serves the stream.
pub const PATH: &str = "/api/v1/gateway/stream";

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
