use axum::Json;
use axum::http::StatusCode;

use crate::app::{CreateRule, Result};
use crate::http::extract::{AsAdmin, Body};
use crate::http::problem::{ForAdmins, Refused, WithBody};
use crate::model::Rule;

/// Makes a rule and puts it in force.
///
/// Deny beats allow; what no rule allows is denied.
#[utoipa::path(
    post,
    path = "/api/v1/rules",
    tag = "rules",
    security(("session" = [])),
    responses((status = 201, body = Rule), ForAdmins, WithBody, Refused),
)]
pub(in crate::http) async fn create(
    AsAdmin(admin): AsAdmin,
    Body(request): Body<CreateRule>,
) -> Result<(StatusCode, Json<Rule>)> {
    Ok((StatusCode::CREATED, Json(admin.create_rule(&request).await?)))
}
