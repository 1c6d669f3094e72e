use axum::Json;
use nexa_types::DeviceId;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Refused, Signed};
use crate::model::Profile;

/// Shows what a device needs to connect.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{id}/profile",
    tag = "devices",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The device.")),
    responses((status = 200, body = Profile), Signed, Missing, Refused),
)]
pub(in crate::http) async fn profile(
    SignedIn(caller): SignedIn,
    Ids(id): Ids<DeviceId>,
) -> Result<Json<Profile>> {
    caller.profile(id).await.map(Json)
}
