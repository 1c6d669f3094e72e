use axum::Json;
use nexa_types::GatewayId;

use crate::app::{Result, UpdateGateway};
use crate::http::extract::{AsAdmin, Body, Ids};
use crate::http::problem::{ForAdmins, Missing, Refused, WithBody};
use crate::model::Gateway;

/// Changes a gateway's name or endpoint.
#[utoipa::path(
    patch,
    path = "/api/v1/gateways/{id}",
    tag = "gateways",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The gateway.")),
    responses((status = 200, body = Gateway), ForAdmins, Missing, WithBody, Refused),
)]
pub(in crate::http) async fn update(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<GatewayId>,
    Body(request): Body<UpdateGateway>,
) -> Result<Json<Gateway>> {
    admin.update_gateway(id, &request).await.map(Json)
}
