use axum::Json;
use nexa_types::DeviceId;

use crate::app::{Result, UpdateDevice};
use crate::http::extract::{Body, Ids, SignedIn};
use crate::http::problem::{ForAdmins, Missing, Refused, WithBody};
use crate::model::Device;

/// Changes a device. Only administrators disable devices and set when they expire.
#[utoipa::path(
    patch,
    path = "/api/v1/devices/{id}",
    tag = "devices",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The device.")),
    responses((status = 200, body = Device), ForAdmins, Missing, WithBody, Refused),
)]
pub(in crate::http) async fn update(
    SignedIn(caller): SignedIn,
    Ids(id): Ids<DeviceId>,
    Body(request): Body<UpdateDevice>,
) -> Result<Json<Device>> {
    caller.update_device(id, &request).await.map(Json)
}
