use std::net::IpAddr;

use chrono::{DateTime, Utc};
use nexa_types::{DeviceId, GatewayId, Generation, Revision, RuleId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Rule;

/// How a gateway enforces its policy, as it last told. Counters go on over its restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct GatewayHealth {
    /// When it told; absent where it never did.
    pub reported_at: Option<DateTime<Utc>>,
    /// The generation of its kernel's maps; rises with every change there.
    #[schema(value_type = Option<u64>)]
    pub generation: Option<Generation>,
    /// Hash of what these maps held when it last looked. Comparable with the same gateway's only.
    pub content_hash: Option<String>,
    /// Entries that were not as they should be when it last looked: somebody else wrote there.
    pub drift_entries: Option<u64>,
    /// When it last told of any.
    pub drifted_at: Option<DateTime<Utc>>,
    /// How often it wrote the policy anew over such entries, since it started.
    pub policy_repairs: u64,
    /// The snapshot that it refused last, until one is in force.
    #[schema(value_type = Option<u64>)]
    pub refused_revision: Option<Revision>,
    /// Why.
    pub refused_reason: Option<String>,
    /// Packets that no rule speaks of.
    pub default_deny: Hits,
    /// Packets that every device may send without a rule.
    pub implicit: Hits,
    /// Dropped packets, whosever they were.
    pub drops: Vec<DropCount>,
    /// Like drops that it had no room to tell of at `/api/v1/drops`.
    pub missed_drops: u64,
}

/// What was decided by a rule, or by none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Hits {
    /// Packets in both directions.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When a gateway last told of more; absent where there were none.
    pub last_hit_at: Option<DateTime<Utc>>,
}

/// Dropped packets of a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DropCount {
    /// Why, like `no_rule`.
    pub reason: String,
    /// `ingress` from devices, `egress` to them; absent where both are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// How many.
    pub packets: u64,
}

/// A rule with what gateways counted of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RuleWithHits {
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// What it decided.
    pub hits: Hits,
}

/// What gateways counted of a device. Packets are segments, bytes those of IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeviceCounters {
    /// Packets from it, dropped ones too.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets admitted to it.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets from and to it that were dropped.
    pub drops: Vec<DropCount>,
}

/// Like packets that a gateway dropped within a few seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DropEvent {
    /// Rises with every event.
    pub id: i64,
    /// Who dropped them.
    #[schema(value_type = Uuid)]
    pub gateway_id: GatewayId,
    /// Whose they are; absent where no device has the address.
    #[schema(value_type = Option<Uuid>)]
    pub device_id: Option<DeviceId>,
    /// That device's name.
    pub device_name: Option<String>,
    /// Its owner.
    pub username: Option<String>,
    /// When the first of them was, by the gateway's clock.
    pub first_at: DateTime<Utc>,
    /// When the last of them was.
    pub last_at: DateTime<Utc>,
    /// How many they are.
    pub packets: u64,
    /// How many of these are a share of what the kernel did not tell one by one.
    pub untold_packets: u64,
    /// `ingress` from the device, `egress` to it.
    pub direction: String,
    /// Where the last of them came from; absent of a packet that could not be read.
    #[schema(value_type = Option<String>)]
    pub source: Option<IpAddr>,
    /// Its source port, or the identifier of an echo.
    pub source_port: Option<u16>,
    /// Where they went.
    #[schema(value_type = Option<String>)]
    pub destination: Option<IpAddr>,
    /// Destination port, or type and code of ICMP.
    pub destination_port: Option<u16>,
    /// IANA protocol number.
    pub protocol: Option<u8>,
    /// Why, like `no_rule` or `rule_deny`.
    #[schema(example = "no_rule")]
    pub reason: String,
    /// The rule that refused them, if one did.
    #[schema(value_type = Option<u32>)]
    pub rule_id: Option<RuleId>,
    /// The generation of the gateway's maps that dropped them.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// The rule that came closest to allowing what no rule speaks of.
    #[schema(value_type = Option<u32>)]
    pub nearest_rule_id: Option<RuleId>,
    /// What is different, in a sentence.
    #[schema(example = "rule 17 allows 443, you used 8443")]
    pub nearest: Option<String>,
}

/// Which drops, and which page of them.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DropQuery {
    /// Of this device only.
    pub device: Option<Uuid>,
    /// Of this gateway only.
    pub gateway: Option<Uuid>,
    /// Refused by this rule only.
    pub rule: Option<u32>,
    /// Of this reason only, like `no_rule`.
    pub reason: Option<String>,
    /// Not before this time.
    pub since: Option<DateTime<Utc>>,
    /// At most this many entries: 1 to 1000, 100 where it is left out.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
