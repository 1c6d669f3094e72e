use axum::Json;
use axum::http::StatusCode;

use crate::app::{CreateGroup, Result};
use crate::http::extract::{AsAdmin, Body};
use crate::http::problem::{ForAdmins, Refused, WithBody};
use crate::model::Group;

/// Makes an empty group.
#[utoipa::path(
    post,
    path = "/api/v1/groups",
    tag = "groups",
    security(("session" = [])),
    responses((status = 201, body = Group), ForAdmins, WithBody, Refused),
)]
pub(in crate::http) async fn create(
    AsAdmin(admin): AsAdmin,
    Body(request): Body<CreateGroup>,
) -> Result<(StatusCode, Json<Group>)> {
    Ok((StatusCode::CREATED, Json(admin.create_group(&request).await?)))
}
