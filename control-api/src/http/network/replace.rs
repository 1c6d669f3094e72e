use axum::Json;

use crate::app::{Result, UpdateNetwork};
use crate::http::extract::{AsAdmin, Body};
use crate::http::problem::{ForAdmins, Refused, WithBody};
use crate::model::Network;

/// Changes address pools and MTU. Other pools are refused while there are devices.
#[utoipa::path(
    put,
    path = "/api/v1/network",
    tag = "network",
    security(("session" = [])),
    responses((status = 200, body = Network), ForAdmins, WithBody, Refused),
)]
pub(in crate::http) async fn replace(
    AsAdmin(admin): AsAdmin,
    Body(request): Body<UpdateNetwork>,
) -> Result<Json<Network>> {
    admin.update_network(&request).await.map(Json)
}
