use chrono::{DateTime, Utc};
use nexa_types::{GatewayId, PublicKey, Revision};
use serde::Serialize;
use utoipa::ToSchema;

/// A host that ends tunnels and enforces policy.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Gateway {
    /// The gateway.
    #[schema(value_type = Uuid)]
    pub id: GatewayId,
    /// Its name; unique whatever the case.
    pub name: String,
    /// Where clients reach its WireGuard: `host:port`.
    pub endpoint: String,
    /// Its WireGuard key; absent until it has connected once.
    #[schema(value_type = Option<String>)]
    pub public_key: Option<PublicKey>,
    /// Whether its stream is up.
    pub connected: bool,
    /// The last snapshot that it put in force.
    #[schema(value_type = Option<u64>)]
    pub applied_revision: Option<Revision>,
    /// Why it refused a newer snapshot, if it did.
    pub refused_reason: Option<String>,
    /// Version of its program.
    pub version: Option<String>,
    /// When it was last heard of.
    pub last_seen: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A gateway with the token that it authenticates with. The token is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayWithToken {
    /// The gateway.
    #[serde(flatten)]
    pub gateway: Gateway,
    /// For the gateway's `--token-file`.
    pub token: String,
}
