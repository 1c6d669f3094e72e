use axum::Json;
use nexa_types::GatewayId;

use crate::app::Result;
use crate::http::extract::{AsReader, Ids};
use crate::http::problem::{ForReaders, Missing};
use crate::model::Gateway;

/// Shows a gateway.
#[utoipa::path(
    get,
    path = "/api/v1/gateways/{id}",
    tag = "gateways",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The gateway.")),
    responses((status = 200, body = Gateway), ForReaders, Missing),
)]
pub(in crate::http) async fn get(
    AsReader(reader): AsReader,
    Ids(id): Ids<GatewayId>,
) -> Result<Json<Gateway>> {
    reader.gateway(id).await.map(Json)
}
