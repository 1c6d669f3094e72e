use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::audit_chain::Hash;

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEvent {
    /// Rises with every event.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// What was done, like `rule.create`.
    pub action: String,
    /// Kind of what it was done to, like `rule`.
    pub target_kind: String,
    /// Id of what it was done to.
    pub target_id: String,
    /// What it was before; null for something new.
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// What it was afterwards; null for something removed.
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
}

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Actor {
    /// Which kind of actor.
    pub kind: ActorKind,
    /// The user or gateway; null for the system itself.
    pub id: Option<Uuid>,
    /// The actor's name at that time.
    pub name: String,
    /// Where the request came from; null for the system itself.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The program's token, where it was a program for the user.
    // Left out where there is none: entries from before there were tokens keep their hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub token: Option<Uuid>,
}

/// Kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum ActorKind {
    /// A signed-in user.
    User,
    /// A gateway, about itself.
    Gateway,
    /// The control plane, by its own clock or command line.
    System,
}

/// A change that was made, with its place in the chain that makes the log tamper-evident.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChainedEvent {
    /// Counts the chain's entries from 1; null for one that a server of an older version wrote a moment ago.
    pub position: Option<i64>,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
    /// SHA-256 over this entry and the hash before it, hex.
    #[schema(value_type = Option<String>)]
    pub hash: Option<Hash>,
}
