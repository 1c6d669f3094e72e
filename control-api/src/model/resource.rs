use chrono::{DateTime, Utc};
use nexa_types::{Cidr, ResourceId};
use nexa_wire::snapshot::Traffic;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A named destination.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Resource {
    /// The resource.
    #[schema(value_type = Uuid)]
    pub id: ResourceId,
    /// Its name; unique whatever the case.
    pub name: String,
    /// Where it is. The prefixes of one resource do not overlap.
    #[schema(value_type = Vec<String>, example = json!(["10.20.0.0/24", "fd20::/64"]))]
    pub cidrs: Vec<Cidr>,
    /// What of it is meant.
    #[schema(value_type = Vec<TrafficBody>)]
    pub traffic: Vec<Traffic>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A protocol, with ports exactly for `tcp` and `udp`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"protocol": "tcp", "ports": "443"}))]
pub struct TrafficBody {
    /// `any`, `tcp`, `udp`, `icmp`, or a protocol number in quotes.
    pub protocol: String,
    /// One port, a range like `8000-8100`, or `any`.
    #[schema(nullable = false)]
    pub ports: Option<String>,
}
