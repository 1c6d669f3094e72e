use axum::Json;
use nexa_types::GatewayId;

use crate::app::Result;
use crate::http::extract::{AsReader, Ids};
use crate::http::problem::{ForReaders, Missing};
use crate::model::GatewayHealth;

/// Shows how a gateway enforces its policy.
#[utoipa::path(
    get,
    path = "/api/v1/gateways/{id}/health",
    tag = "gateways",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The gateway.")),
    responses((status = 200, body = GatewayHealth), ForReaders, Missing),
)]
pub(in crate::http) async fn health(
    AsReader(reader): AsReader,
    Ids(id): Ids<GatewayId>,
) -> Result<Json<GatewayHealth>> {
    reader.gateway_health(id).await.map(Json)
}
