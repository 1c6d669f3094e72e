use axum::Json;
use nexa_types::GatewayId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};
use crate::model::Gateway;

/// Shows a gateway.
#[utoipa::path(
    get,
    path = "/api/v1/gateways/{id}",
    tag = "gateways",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The gateway.")),
    responses((status = 200, body = Gateway), ForAdmins, Missing),
)]
pub(in crate::http) async fn get(AsAdmin(admin): AsAdmin, Ids(id): Ids<GatewayId>) -> Result<Json<Gateway>> {
    admin.gateway(id).await.map(Json)
}
