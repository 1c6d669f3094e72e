//! What `nexa-gateway` asks the daemon of its host, over a Unix socket: one JSON object a line, and one line in answer
//! to each.
//!
//! Both ends are one program, but the daemon may be an older one that still runs: it refuses another [`VERSION`], and
//! answers what it does not know with [`Answer::Refused`].

mod text;

use std::net::{IpAddr, SocketAddr};

use chrono::{DateTime, Utc};
use nexa_types::{DeviceId, Generation, PortRange, Protocol, PublicKey, Revision, RuleId};
use serde::{Deserialize, Serialize};

use crate::drops::Dropped;

/// Version of these messages.
pub const VERSION: u32 = 1;

/// Name of the socket in the daemon's state folder.
pub const SOCKET: &str = "gateway.sock";

/// The longest question, bytes.
pub const MAX_REQUEST_BYTES: usize = 16 << 10;

/// Most flows in one answer.
pub const MAX_FLOWS: usize = 1000;

/// Most drops that a daemon remembers, and so in one answer.
pub const MAX_DROPS: usize = 1000;

/// A question with the version of its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of who asks.
    pub version: u32,
    /// What is asked.
    #[serde(flatten)]
    pub question: Question,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// How the daemon and its peers are.
    Status,
    /// What would happen to a packet.
    Explain(Query),
    /// Which conversations are live.
    Flows {
        /// Of one device only, named as in [`Query::peer`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
        /// Whether those that begin from now on are told instead: an answer for each, until who asked goes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        follow: bool,
    },
    /// Which packets were dropped lately.
    Drops {
        /// Of one device only, named as in [`Query::peer`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
        /// Whether those that are still to come are told too: more answers of the same kind, until who asked goes.
        #[serde(default)]
        follow: bool,
    },
    /// Whether the kernel's maps hold what they are meant to hold.
    Verify,
    /// A question that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A packet that nobody sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Who would send it: a device's name, id, public key or tunnel address.
    pub peer: String,
    /// Where it would go.
    pub destination: IpAddr,
    /// Its protocol; never `any`.
    pub protocol: Protocol,
    /// Its destination port, with TCP and UDP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Question::Status`].
    Status(Status),
    /// To [`Question::Explain`].
    Explained(Explained),
    /// To [`Question::Flows`].
    Flows {
        /// Latest heard first; at most [`MAX_FLOWS`].
        flows: Vec<Flow>,
        /// How many there are, also of those that began and were too many to be told.
        total: u64,
    },
    /// To [`Question::Drops`].
    Drops {
        /// Oldest first; at most [`MAX_DROPS`].
        drops: Vec<PeerDrop>,
        /// How many others there were that cannot be told: too many at once, or too fast for who asked.
        missed: u64,
    },
    /// To [`Question::Verify`].
    Verified(Verified),
    /// To a question that cannot be answered.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// How the daemon and its peers are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// The tunnel's interface.
    pub interface: String,
    /// UDP port that WireGuard listens on.
    pub listen_port: Option<u16>,
    /// The daemon's WireGuard key.
    pub public_key: PublicKey,
    /// The snapshot in force; none before the first.
    pub revision: Option<Revision>,
    /// Its hash.
    pub hash: Option<String>,
    /// Seconds since the control plane last confirmed it.
    pub age_seconds: Option<u64>,
    /// The generation of the kernel's maps.
    pub generation: Generation,
    /// Whether the control plane's stream is up.
    pub connected: bool,
    /// Entries of the kernel's maps that were not as they should be when that was last looked at; none before.
    pub drift_entries: Option<u64>,
    /// In the order of the snapshot.
    pub peers: Vec<PeerStatus>,
}

/// A device in the snapshot in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Who it is.
    #[serde(flatten)]
    pub peer: PeerName,
    /// Its WireGuard key.
    pub public_key: PublicKey,
    /// Its addresses in the tunnel.
    pub addresses: [IpAddr; 2],
    /// Where its packets come from.
    pub endpoint: Option<SocketAddr>,
    /// Last completed handshake, seconds since 1970.
    pub last_handshake_unix: Option<u64>,
    /// Bytes received from it, as WireGuard counts them.
    pub received_bytes: u64,
    /// Bytes sent to it, as WireGuard counts them.
    pub sent_bytes: u64,
}

/// How people call a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerName {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Its owner's name.
    pub owner: String,
}

/// What would happen to a packet, by the rules and by the kernel's maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Who would send it.
    #[serde(flatten)]
    pub peer: PeerName,
    /// What was asked.
    pub query: Query,
    /// The snapshot that was asked.
    pub revision: Revision,
    /// The generation of the maps that were asked.
    pub generation: Generation,
    /// What the rules say.
    pub policy: Word,
    /// Of a packet that no rule speaks of, the rule that came closest to allowing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearMiss>,
    /// What the kernel's own maps say.
    pub kernel: Word,
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Word {
    /// It passes.
    Allow {
        /// The rule that allows it; 0 is what every peer may reach without a rule.
        rule: RuleId,
    },
    /// A rule refuses it.
    Deny {
        /// The rule.
        rule: RuleId,
    },
    /// No rule speaks of it, so it is dropped.
    NoRule,
    /// No rule speaks of it, and no range of a resource covers where it goes.
    Excluded {
        /// What that is.
        what: Exclusion,
    },
    /// It is dropped before any rule is asked.
    Drop {
        /// The name of the reason, as metrics have it.
        reason: String,
    },
}

/// Destinations that no range of a resource covers, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// Devices: a rule reaches those that it names.
    TunnelPool,
    /// The gateway's own addresses.
    Gateway,
    /// "This network" and no address at all, RFC 1122.
    Unspecified,
    /// Loopback.
    Loopback,
    /// Link-local.
    LinkLocal,
    /// Where clouds tell a host its credentials.
    Metadata,
    /// Multicast.
    Multicast,
    /// Reserved, and broadcast.
    Reserved,
    /// IPv4 in the guise of IPv6.
    MappedV4,
}

/// An allow rule that would have allowed the packet, but for one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMiss {
    /// The rule.
    pub rule: RuleId,
    /// The one thing.
    #[serde(flatten)]
    pub differs: Difference,
}

/// What keeps a rule from allowing a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "differs", rename_all = "snake_case")]
pub enum Difference {
    /// It is allowed, at other times.
    Time {
        /// When next; nothing where never again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<DateTime<Utc>>,
    },
    /// Other ports are allowed.
    Port {
        /// These.
        allowed: Vec<PortRange>,
    },
    /// Other protocols are allowed.
    Protocol {
        /// These.
        allowed: Vec<Protocol>,
    },
    /// The same is allowed to others.
    Subject,
    /// The same is allowed elsewhere.
    Destination,
}

/// A conversation that a device began and that policy allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Who began it.
    #[serde(flatten)]
    pub peer: PeerName,
    /// Its address.
    pub source: IpAddr,
    /// Its port, or the identifier of an echo; 0 for protocols that have neither.
    pub source_port: u16,
    /// With whom.
    pub destination: IpAddr,
    /// Destination port; of ICMP, type and code; 0 for protocols that have neither.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// The rule that allowed it; 0 is what every peer may reach without a rule.
    pub rule: RuleId,
    /// How far it has come.
    pub phase: Phase,
    /// Seconds since it was last heard.
    pub idle_seconds: u64,
}

/// Packets that were dropped, of a device or for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerDrop {
    /// Whose they are; none where no device has the address.
    #[serde(flatten)]
    pub peer: Option<PeerName>,
    /// The packets.
    #[serde(flatten)]
    pub dropped: Dropped,
}

/// How far a conversation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Only the device has spoken.
    New,
    /// Both have.
    Answered,
    /// TCP: one of them has closed or reset.
    Closing,
}

/// What a look at the kernel's maps found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The generation that is meant to be in the maps.
    pub generation: Generation,
    /// Each map.
    pub maps: Vec<MapDrift>,
    /// Hash of what is meant to be there.
    pub intended_hash: String,
    /// Hash of what is there.
    pub found_hash: String,
    /// The generation that was written anew over a drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired: Option<Generation>,
}

/// What a look at one map found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDrift {
    /// The map.
    pub map: String,
    /// Entries as they should be.
    pub equal: u64,
    /// Entries that should be there and are not.
    pub missing: u64,
    /// Entries that should not be there.
    pub extra: u64,
    /// Entries with another value than they should have.
    pub different: u64,
}

impl Request {
    /// A question in this version's words.
    pub const fn new(question: Question) -> Self {
        Self { version: VERSION, question }
    }
}

impl Explained {
    /// Whether the kernel's maps say what the rules say.
    pub fn agrees(&self) -> bool {
        self.policy == self.kernel
    }
}

impl MapDrift {
    /// Entries that are not as they should be.
    pub const fn drift(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

impl Verified {
    /// Entries that are not as they should be.
    pub fn drift(&self) -> u64 {
        self.maps.iter().map(MapDrift::drift).sum()
    }
}
