use axum::Json;
use nexa_types::DeviceId;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Signed};
use crate::model::DeviceCounters;

/// Shows what gateways counted of a device.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{id}/counters",
    tag = "devices",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The device.")),
    responses((status = 200, body = DeviceCounters), Signed, Missing),
)]
pub(in crate::http) async fn counters(
    SignedIn(caller): SignedIn,
    Ids(id): Ids<DeviceId>,
) -> Result<Json<DeviceCounters>> {
    caller.device_counters(id).await.map(Json)
}
