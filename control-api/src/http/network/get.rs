use axum::Json;

use crate::app::Result;
use crate::http::extract::AsAdmin;
use crate::http::problem::ForAdmins;
use crate::model::Network;

/// Shows address pools and MTU.
#[utoipa::path(
    get,
    path = "/api/v1/network",
    tag = "network",
    security(("session" = [])),
    responses((status = 200, body = Network), ForAdmins),
)]
pub(in crate::http) async fn get(AsAdmin(admin): AsAdmin) -> Result<Json<Network>> {
    admin.network().await.map(Json)
}
