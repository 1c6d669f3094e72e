use std::net::{Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, Utc};
use nexa_types::{Cidr, DeviceId, GatewayId, PublicKey, Revision, UserId};
use serde::Serialize;
use utoipa::ToSchema;

/// Whether gateways serve a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceStatus {
    /// Served.
    Active,
    /// Disabled by an administrator.
    Disabled,
    /// Past its expiry.
    Expired,
    /// Its owner is disabled.
    UserDisabled,
}

/// One machine with one WireGuard key and one address of each family.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Device {
    /// The device.
    #[schema(value_type = Uuid)]
    pub id: DeviceId,
    /// Its name; unique among its owner's, whatever the case.
    pub name: String,
    /// Who owns it.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// What its owner signs in with.
    pub username: String,
    /// Its WireGuard key. The private one never leaves the device.
    #[schema(value_type = String)]
    pub public_key: PublicKey,
    /// Its only IPv4 address inside the tunnel.
    #[schema(value_type = String)]
    pub v4: Ipv4Addr,
    /// Its only IPv6 address inside the tunnel.
    #[schema(value_type = String)]
    pub v6: Ipv6Addr,
    /// Whether gateways serve it.
    pub status: DeviceStatus,
    /// Whether an administrator disabled it.
    pub disabled: bool,
    /// When it stops being served, if ever.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was enrolled.
    pub created_at: DateTime<Utc>,
    /// Its last handshake with any gateway.
    pub last_handshake_at: Option<DateTime<Utc>>,
    /// Bytes that gateways received from it since each started.
    pub received_bytes: u64,
    /// Bytes that gateways sent to it since each started.
    pub sent_bytes: u64,
}

/// What a device needs to connect.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Profile {
    /// Whose profile this is.
    pub device: ProfileDevice,
    /// The device's IPv4 address inside the tunnel.
    #[schema(value_type = String)]
    pub address_v4: Ipv4Addr,
    /// The device's IPv6 address inside the tunnel.
    #[schema(value_type = String)]
    pub address_v6: Ipv6Addr,
    /// DNS servers inside the tunnel; empty while the network has none.
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<std::net::IpAddr>,
    /// Largest packet inside the tunnel, bytes.
    pub mtu: u16,
    /// The state of the control plane that this profile is of.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Gateways that can be connected to, best first; a client uses one at a time.
    pub gateways: Vec<ProfileGateway>,
    /// What to route into the tunnel: granted resources, aggregated, and the gateways' tunnel addresses.
    #[schema(value_type = Vec<String>)]
    pub allowed_ips: Vec<Cidr>,
}

/// By which one device is enrolled. It is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct EnrolmentToken {
    /// For POST /api/v1/enrolments, once.
    pub token: String,
    /// Until when it can be used.
    pub expires_at: DateTime<Utc>,
}

/// A device that was enrolled by a token, with what it needs to connect.
#[derive(Debug, Serialize, ToSchema)]
pub struct Enrolled {
    /// The device.
    pub device: Device,
    /// What it needs to connect, as of now.
    pub profile: Profile,
}

/// The device of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ProfileDevice {
    /// The device.
    #[schema(value_type = Uuid)]
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// Its WireGuard key.
    #[schema(value_type = String)]
    pub public_key: PublicKey,
}

/// A gateway as a client sees it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ProfileGateway {
    /// The gateway.
    #[schema(value_type = Uuid)]
    pub id: GatewayId,
    /// Its name.
    pub name: String,
    /// Its WireGuard key.
    #[schema(value_type = String)]
    pub public_key: PublicKey,
    /// Where its WireGuard listens: `host:port`.
    pub endpoint: String,
}
