use axum::http::StatusCode;
use nexa_types::{GroupId, UserId};

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};

/// Takes a user out of a group.
#[utoipa::path(
    delete,
    path = "/api/v1/groups/{id}/members/{user_id}",
    tag = "groups",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The group."),
        ("user_id" = uuid::Uuid, Path, description = "The user.")),
    responses((status = 204), ForAdmins, Missing),
)]
pub(in crate::http) async fn remove_member(
    AsAdmin(admin): AsAdmin,
    Ids((id, user_id)): Ids<(GroupId, UserId)>,
) -> Result<StatusCode> {
    admin.remove_member(id, user_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
