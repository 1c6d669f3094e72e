use axum::Json;

use crate::app::Result;
use crate::http::extract::AsReader;
use crate::http::problem::ForReaders;
use crate::model::Network;

/// Shows address pools and MTU.
#[utoipa::path(
    get,
    path = "/api/v1/network",
    tag = "network",
    security(("session" = [])),
    responses((status = 200, body = Network), ForReaders),
)]
pub(in crate::http) async fn get(AsReader(reader): AsReader) -> Result<Json<Network>> {
    reader.network().await.map(Json)
}
