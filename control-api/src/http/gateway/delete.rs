use axum::http::StatusCode;
use nexa_types::GatewayId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};

/// Removes a gateway; its stream ends.
#[utoipa::path(
    delete,
    path = "/api/v1/gateways/{id}",
    tag = "gateways",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The gateway.")),
    responses((status = 204), ForAdmins, Missing),
)]
pub(in crate::http) async fn delete(AsAdmin(admin): AsAdmin, Ids(id): Ids<GatewayId>) -> Result<StatusCode> {
    admin.delete_gateway(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
