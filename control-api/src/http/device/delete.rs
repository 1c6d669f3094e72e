use axum::http::StatusCode;
use nexa_types::DeviceId;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Refused, Signed};

/// Removes a device; its addresses rest for an hour. Refused while a rule names it.
#[utoipa::path(
    delete,
    path = "/api/v1/devices/{id}",
    tag = "devices",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The device.")),
    responses((status = 204), Signed, Missing, Refused),
)]
pub(in crate::http) async fn delete(
    SignedIn(caller): SignedIn,
    Ids(id): Ids<DeviceId>,
) -> Result<StatusCode> {
    caller.delete_device(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
