use chrono::{DateTime, Utc};
use nexa_types::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a user may do. Each role may do what the ones before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Role {
    /// Sees and enrols his own devices.
    User,
    /// Sees everything, and changes nothing of others.
    Auditor,
    /// Looks after everybody's devices: disables them, sets when they expire, removes them.
    Operator,
    /// Manages everything but owners.
    Admin,
    /// Manages owners, too. One always remains.
    Owner,
}

/// A person who signs in and owns devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    /// The user.
    #[schema(value_type = Uuid)]
    pub id: UserId,
    /// What the user signs in with; unique whatever the case.
    pub username: String,
    /// How others see the user.
    pub display_name: String,
    /// What the user may do.
    pub role: Role,
    /// A disabled user has no session and no device in any gateway.
    pub disabled: bool,
    /// Whether the user has yet to set a password, by a link from POST /api/v1/users/{id}/password-link.
    pub invited: bool,
    /// When the user was made.
    pub created_at: DateTime<Utc>,
}

/// By which a user sets a password. Its token is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct PasswordLink {
    /// For POST /api/v1/passwords, once.
    pub token: String,
    /// Until when it can be used.
    pub expires_at: DateTime<Utc>,
}

/// A session that lasts.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ActiveSession {
    /// The session's id, which is no secret.
    pub id: uuid::Uuid,
    /// Who signed in.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// That user's name.
    pub username: String,
    /// Where the sign-in came from.
    #[schema(value_type = Option<String>)]
    pub address: Option<std::net::IpAddr>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// A session that has just begun. Its token is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Send it as `Authorization: Bearer <token>`.
    pub token: String,
    /// When the session ends by itself.
    pub expires_at: DateTime<Utc>,
    /// Who signed in.
    pub user: User,
}
