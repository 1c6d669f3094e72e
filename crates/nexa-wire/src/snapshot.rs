//! What a gateway needs to know to serve its network: peers, policy and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, Utc};
use nexa_types::{
    Cidr, DeviceId, GatewayId, GroupId, PortRange, Protocol, PublicKey, ResourceId, Revision, RuleId, UserId,
    When,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// The whole state that one gateway serves. Nothing is granted that it does not name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Addresses of the network and of this gateway.
    pub network: Network,
    /// Devices that may connect. One that is pending, disabled, expired or revoked is not in here.
    pub peers: Vec<Peer>,
    /// Destinations that rules name.
    pub resources: Vec<Resource>,
    /// Who may reach what.
    pub rules: Vec<Rule>,
}

/// Addresses that a gateway owns or must recognise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// This gateway's id.
    pub gateway: GatewayId,
    /// Devices' IPv4 addresses come from here.
    pub pool_v4: Cidr,
    /// Devices' IPv6 addresses come from here.
    pub pool_v6: Cidr,
    /// The gateway's own address inside the tunnel, also that of tunnel DNS.
    pub tunnel_v4: Ipv4Addr,
    /// As [`Self::tunnel_v4`], for IPv6.
    pub tunnel_v6: Ipv6Addr,
    /// Where services by name are reached; absent while the network has no access proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_v4: Option<Ipv4Addr>,
    /// As [`Self::proxy_v4`], for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_v6: Option<Ipv6Addr>,
    /// UDP port that WireGuard listens on.
    pub listen_port: u16,
    /// Largest packet inside the tunnel, bytes.
    pub mtu: u16,
}

/// A device that may connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// The device.
    pub device: DeviceId,
    /// Its name, as its owner chose it.
    pub name: String,
    /// Who owns it.
    pub user: UserId,
    /// The owner's name, for people who read drops.
    pub owner: String,
    /// Groups that the owner belongs to.
    pub groups: Vec<GroupId>,
    /// Its WireGuard key.
    pub public_key: PublicKey,
    /// Its only IPv4 address inside the tunnel.
    pub v4: Ipv4Addr,
    /// Its only IPv6 address inside the tunnel.
    pub v6: Ipv6Addr,
    /// When it stops being served, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A named destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// The resource.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Where it is. Empty only where it is devices.
    pub cidrs: Vec<Cidr>,
    /// Devices that it is, which no prefix covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Subject>,
    /// What of it is meant. Never empty: everything is written as protocol `any`.
    pub traffic: Vec<Traffic>,
}

/// A protocol, with its ports where it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "TrafficText", into = "TrafficText")]
pub struct Traffic {
    protocol: Protocol,
    ports: PortRange,
}

/// Why a protocol and ports do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// Only TCP and UDP have ports.
    #[error("protocol {0} has no ports; leave `ports` out")]
    PortsWithout(Protocol),
    /// TCP and UDP grants say their ports.
    #[error("say which ports of {0} are meant, for example \"443\", \"8000-8100\" or \"any\"")]
    PortsMissing(Protocol),
}

impl Traffic {
    /// Takes a protocol, with ports exactly if it is TCP or UDP.
    ///
    /// # Errors
    /// [`TrafficError`], where the two do not go together.
    pub fn new(protocol: Protocol, ports: Option<PortRange>) -> Result<Self, TrafficError> {
        match (protocol, ports) {
            (Protocol::Tcp | Protocol::Udp, Some(ports)) => Ok(Self { protocol, ports }),
            (Protocol::Tcp | Protocol::Udp, None) => Err(TrafficError::PortsMissing(protocol)),
            (_, Some(_)) => Err(TrafficError::PortsWithout(protocol)),
            (_, None) => Ok(Self { protocol, ports: PortRange::ANY }),
        }
    }

    /// The protocol.
    pub const fn protocol(self) -> Protocol {
        self.protocol
    }

    /// The destination ports, for TCP and UDP only.
    pub const fn ports(self) -> Option<PortRange> {
        match self.protocol {
            Protocol::Tcp | Protocol::Udp => Some(self.ports),
            Protocol::Any | Protocol::Icmp | Protocol::Number(_) => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrafficText {
    protocol: Protocol,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<PortRange>,
}

impl TryFrom<TrafficText> for Traffic {
    type Error = TrafficError;

    fn try_from(text: TrafficText) -> Result<Self, Self::Error> {
        Self::new(text.protocol, text.ports)
    }
}

impl From<Traffic> for TrafficText {
    fn from(traffic: Traffic) -> Self {
        Self { protocol: traffic.protocol, ports: traffic.ports() }
    }
}

/// Who may, or may not, reach what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The rule.
    pub id: RuleId,
    /// Whether it admits or refuses.
    pub effect: Effect,
    /// Who it speaks of. Never empty.
    pub who: Vec<Subject>,
    /// What they reach. Never empty.
    pub what: Vec<Target>,
    /// When it speaks; absent is always.
    #[serde(default, skip_serializing_if = "When::is_always")]
    pub when: When,
}

/// What a matching rule does. Deny beats allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Admits.
    Allow,
    /// Refuses, whatever else allows.
    Deny,
}

/// Whom a rule speaks of, or which devices a resource is: `{"kind": "group", "id": …}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Subject {
    /// Every peer.
    Everyone,
    /// All devices of the members of a group.
    Group(GroupId),
    /// All devices of a user.
    User(UserId),
    /// One device.
    Device(DeviceId),
}

/// What a rule speaks of: `{"kind": "resource", "id": …}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Target {
    /// A named destination.
    Resource(ResourceId),
}

/// A snapshot's text with its revision and hash: the unit that is sent, stored, verified and refused as a whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sealed {
    /// The state of the control plane that this is.
    pub revision: Revision,
    /// SHA-256 over the revision (8 bytes, big-endian) and the snapshot's text, in lower-case hex.
    pub hash: String,
    /// JSON of a [`Snapshot`], byte for byte what was hashed.
    pub snapshot: Box<RawValue>,
}

/// The newest form of a snapshot's text that this version understands, whole: what a later one adds might take away.
/// Texts that name none are of form 1.
pub const FORMAT: u32 = 1;

/// Why a sealed snapshot is refused.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The text is not the one that was sealed.
    #[error("snapshot {revision} does not match its hash; ask for it again")]
    Hash {
        /// The revision it claims to be.
        revision: Revision,
    },
    /// It is of a later form than this version understands.
    #[error(
        "snapshot {revision} is of format {format}, and this gateway reads formats up to {FORMAT}; upgrade the gateway"
    )]
    Format {
        /// The revision it claims to be.
        revision: Revision,
        /// Its form.
        format: u32,
    },
    /// The text is no snapshot that this version understands.
    #[error("snapshot {revision} cannot be read: {source}")]
    Content {
        /// The revision it claims to be.
        revision: Revision,
        /// What the parser found.
        source: serde_json::Error,
    },
}

impl Sealed {
    /// Writes a snapshot as text and seals it.
    ///
    /// # Errors
    /// When the snapshot cannot be written as JSON, which no value of the type causes.
    pub fn new(revision: Revision, snapshot: &Snapshot) -> Result<Self, serde_json::Error> {
        Ok(Self::of_text(revision, serde_json::value::to_raw_value(snapshot)?))
    }

    /// Seals a text as it is.
    pub fn of_text(revision: Revision, snapshot: Box<RawValue>) -> Self {
        Self { revision, hash: hash(revision, snapshot.get()), snapshot }
    }

    /// Checks the seal and reads the snapshot.
    ///
    /// # Errors
    /// [`SealError`]; nothing of a refused snapshot may be used.
    pub fn open(&self) -> Result<Snapshot, SealError> {
        let revision = self.revision;
        if hash(revision, self.snapshot.get()) != self.hash {
            return Err(SealError::Hash { revision });
        }
        let unreadable = |source| SealError::Content { revision, source };
        let Form { format } = serde_json::from_str(self.snapshot.get()).map_err(unreadable)?;
        if format > FORMAT {
            return Err(SealError::Format { revision, format });
        }
        serde_json::from_str(self.snapshot.get()).map_err(unreadable)
    }
}

/// What is read before anything else of a snapshot's text, whatever its form.
#[derive(Deserialize)]
struct Form {
    #[serde(default = "first_format")]
    format: u32,
}

const fn first_format() -> u32 {
    1
}

fn hash(revision: Revision, text: &str) -> String {
    let digest = Sha256::new().chain_update(revision.0.to_be_bytes()).chain_update(text).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Peer {
    /// The device's addresses inside the tunnel.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}
