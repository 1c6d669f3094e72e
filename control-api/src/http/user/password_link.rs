use axum::Json;
use axum::http::StatusCode;
use nexa_types::UserId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing, Refused};
use crate::model::PasswordLink;

/// Makes a link by which the user sets a password: an invitation, or a way back for who has forgotten it.
///
/// It can be used once, within 72 hours, and takes the place of an earlier one. Until it is used the user keeps what he has.
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/password-link",
    tag = "users",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The user.")),
    responses((status = 201, body = PasswordLink), ForAdmins, Missing, Refused),
)]
pub(in crate::http) async fn password_link(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<UserId>,
) -> Result<(StatusCode, Json<PasswordLink>)> {
    Ok((StatusCode::CREATED, Json(admin.make_password_link(id).await?)))
}
