use chrono::{DateTime, Utc};
use nexa_types::{Cidr, ResourceId};
use nexa_wire::snapshot::{Subject, Traffic};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SubjectBody;

/// A named destination.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Resource {
    /// The resource.
    #[schema(value_type = Uuid)]
    pub id: ResourceId,
    /// Its name; unique whatever the case.
    pub name: String,
    /// Where it is; empty only where it is devices. The prefixes of one resource do not overlap.
    #[schema(value_type = Vec<String>, example = json!(["10.20.0.0/24", "fd20::/64"]))]
    pub cidrs: Vec<Cidr>,
    /// Devices that it is: devices are reached by resources that name them, and never by a prefix.
    #[schema(value_type = Vec<SubjectBody>)]
    pub devices: Vec<Subject>,
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
