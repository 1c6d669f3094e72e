use axum::Json;
use nexa_types::DeviceId;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Signed};
use crate::model::Device;

/// Shows a device.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{id}",
    tag = "devices",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The device.")),
    responses((status = 200, body = Device), Signed, Missing),
)]
pub(in crate::http) async fn get(SignedIn(caller): SignedIn, Ids(id): Ids<DeviceId>) -> Result<Json<Device>> {
    caller.device(id).await.map(Json)
}
