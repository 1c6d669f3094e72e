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
    /// When the user was made.
    pub created_at: DateTime<Utc>,
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
