use axum::http::StatusCode;
use nexa_types::UserId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing, Refused};

/// Removes a user with all his devices.
///
/// Refused for the last owner, and while a rule names the user or one of his devices.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The user.")),
    responses((status = 204), ForAdmins, Missing, Refused),
)]
pub(in crate::http) async fn delete(AsAdmin(admin): AsAdmin, Ids(id): Ids<UserId>) -> Result<StatusCode> {
    admin.delete_user(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
