use axum::Json;
use axum::http::StatusCode;

use crate::app::{ResourceBody, Result};
use crate::http::extract::{AsAdmin, Body};
use crate::http::problem::{ForAdmins, Refused, WithBody};
use crate::model::Resource;

/// Makes a resource. It grants nothing until a rule names it.
#[utoipa::path(
    post,
    path = "/api/v1/resources",
    tag = "resources",
    security(("session" = [])),
    responses((status = 201, body = Resource), ForAdmins, WithBody, Refused),
)]
pub(in crate::http) async fn create(
    AsAdmin(admin): AsAdmin,
    Body(request): Body<ResourceBody>,
) -> Result<(StatusCode, Json<Resource>)> {
    Ok((StatusCode::CREATED, Json(admin.create_resource(&request).await?)))
}
