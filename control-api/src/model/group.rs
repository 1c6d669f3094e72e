use chrono::{DateTime, Utc};
use nexa_types::{GroupId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A named set of users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Group {
    /// The group.
    #[schema(value_type = Uuid)]
    pub id: GroupId,
    /// Its name; unique whatever the case.
    pub name: String,
    /// Its members, by username.
    pub members: Vec<Member>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A user in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The user.
    #[schema(value_type = Uuid)]
    pub id: UserId,
    /// What the user signs in with.
    pub username: String,
    /// How others see the user.
    pub display_name: String,
}
