use axum::http::StatusCode;
use nexa_types::GroupId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing, Refused};

/// Removes a group. Refused while a rule names it.
#[utoipa::path(
    delete,
    path = "/api/v1/groups/{id}",
    tag = "groups",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The group.")),
    responses((status = 204), ForAdmins, Missing, Refused),
)]
pub(in crate::http) async fn delete(AsAdmin(admin): AsAdmin, Ids(id): Ids<GroupId>) -> Result<StatusCode> {
    admin.delete_group(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
