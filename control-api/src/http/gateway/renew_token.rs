use axum::Json;
use nexa_types::GatewayId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};
use crate::model::GatewayWithToken;

/// Gives a gateway a new token, shown this once. The old one ends at once, with its stream.
#[utoipa::path(
    post,
    path = "/api/v1/gateways/{id}/token",
    tag = "gateways",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The gateway.")),
    responses((status = 200, body = GatewayWithToken), ForAdmins, Missing),
)]
pub(in crate::http) async fn renew_token(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<GatewayId>,
) -> Result<Json<GatewayWithToken>> {
    admin.renew_gateway_token(id).await.map(Json)
}
