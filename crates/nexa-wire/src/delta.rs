//! What is different in a snapshot: as much as changed, however much there is.

use nexa_types::{DeviceId, ResourceId, RuleId};
use serde::{Deserialize, Serialize};

use crate::snapshot::{Peer, Resource, Rule};

/// From one snapshot to another of the same network. What is new or has changed is here whole; of what is gone the id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delta {
    /// New devices, and those of which anything is different.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
    /// Devices that may no longer connect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone_peers: Vec<DeviceId>,
    /// New destinations, and those of which anything is different.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Resource>,
    /// Destinations that are no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone_resources: Vec<ResourceId>,
    /// New rules, and those of which anything is different.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Rules that are no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone_rules: Vec<RuleId>,
}
