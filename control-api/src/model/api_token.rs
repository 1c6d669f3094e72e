use chrono::{DateTime, Utc};
use nexa_types::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What a token may do of what its user may. Reading never includes writing, and no scope includes another.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[sqlx(type_name = "text")]
pub enum Scope {
    /// Reads whatever the user may read.
    #[serde(rename = "read")]
    #[sqlx(rename = "read")]
    Read,
    /// Enrols, changes and removes devices.
    #[serde(rename = "devices:write")]
    #[sqlx(rename = "devices:write")]
    DevicesWrite,
    /// Makes, changes and removes resources and rules.
    #[serde(rename = "policy:write")]
    #[sqlx(rename = "policy:write")]
    PolicyWrite,
    /// Makes, changes and removes users and groups.
    #[serde(rename = "users:write")]
    #[sqlx(rename = "users:write")]
    UsersWrite,
    /// Makes, changes and removes gateways; changes the network.
    #[serde(rename = "gateways:write")]
    #[sqlx(rename = "gateways:write")]
    GatewaysWrite,
}

/// What a program authenticates with, for a user.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ApiToken {
    /// The token's id, which is no secret.
    pub id: Uuid,
    /// For whom it acts.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// Name of that user.
    pub username: String,
    /// What it is for; unique among the user's, whatever the case.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
    /// When it was last used, some minutes coarse; null for never.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A token that was just made. Its secret is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiTokenWithSecret {
    /// The token.
    #[serde(flatten)]
    pub api_token: ApiToken,
    /// Send it as `Authorization: Bearer <token>`.
    #[schema(example = "nxa_q1w2…")]
    pub token: String,
}
