use axum::Json;
use axum::http::StatusCode;

use crate::app::{CreateUser, Result};
use crate::http::extract::{AsAdmin, Body};
use crate::http::problem::{ForAdmins, Refused, WithBody};
use crate::model::User;

/// Makes a user.
///
/// Only an owner makes owners.
#[utoipa::path(
    post,
    path = "/api/v1/users",
    tag = "users",
    security(("session" = [])),
    responses((status = 201, body = User), ForAdmins, WithBody, Refused),
)]
pub(in crate::http) async fn create(
    AsAdmin(admin): AsAdmin,
    Body(request): Body<CreateUser>,
) -> Result<(StatusCode, Json<User>)> {
    Ok((StatusCode::CREATED, Json(admin.create_user(request).await?)))
}
