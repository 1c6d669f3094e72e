use axum::Json;
use axum::http::StatusCode;

use crate::app::{CreateGateway, Result};
use crate::http::extract::{AsAdmin, Body};
use crate::http::problem::{ForAdmins, Refused, WithBody};
use crate::model::GatewayWithToken;

/// Makes a gateway. Its token is shown this once.
#[utoipa::path(
    post,
    path = "/api/v1/gateways",
    tag = "gateways",
    security(("session" = [])),
    responses((status = 201, body = GatewayWithToken), ForAdmins, WithBody, Refused),
)]
pub(in crate::http) async fn create(
    AsAdmin(admin): AsAdmin,
    Body(request): Body<CreateGateway>,
) -> Result<(StatusCode, Json<GatewayWithToken>)> {
    Ok((StatusCode::CREATED, Json(admin.create_gateway(&request).await?)))
}
