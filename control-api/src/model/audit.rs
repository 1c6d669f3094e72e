use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Actor {
    /// Which kind of actor.
    pub kind: ActorKind,
    /// The user or gateway; null for the system itself.
    pub id: Option<Uuid>,
    /// The actor's name at that time.
    pub name: String,
}

/// Kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
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
