use axum::http::StatusCode;
use nexa_types::{GroupId, UserId};

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};

/// Puts a user in a group. Doing so twice is the same as once.
#[utoipa::path(
    put,
    path = "/api/v1/groups/{id}/members/{user_id}",
    tag = "groups",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The group."),
        ("user_id" = uuid::Uuid, Path, description = "The user.")),
    responses((status = 204), ForAdmins, Missing),
)]
pub(in crate::http) async fn add_member(
    AsAdmin(admin): AsAdmin,
    Ids((id, user_id)): Ids<(GroupId, UserId)>,
) -> Result<StatusCode> {
    admin.add_member(id, user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
