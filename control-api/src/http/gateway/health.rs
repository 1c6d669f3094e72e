use axum::Json;
use nexa_types::GatewayId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};
use crate::model::GatewayHealth;

/// Shows how a gateway enforces its policy.
#[utoipa::path(
    get,
    path = "/api/v1/gateways/{id}/health",
    tag = "gateways",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The gateway.")),
    responses((status = 200, body = GatewayHealth), ForAdmins, Missing),
)]
pub(in crate::http) async fn health(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<GatewayId>,
) -> Result<Json<GatewayHealth>> {
    admin.gateway_health(id).await.map(Json)
}
