use axum::Json;
use axum::http::StatusCode;

use crate::app::{EnrolRequest, Result};
use crate::http::extract::{Body, SignedIn};
use crate::http::problem::{Refused, Signed, WithBody};
use crate::model::Device;

/// Enrols a device for oneself and gives it an address of each family.
///
/// Make the key pair on the device; only its public key is sent.
#[utoipa::path(
    post,
    path = "/api/v1/devices",
    tag = "devices",
    security(("session" = [])),
    responses((status = 201, body = Device), Signed, WithBody, Refused),
)]
pub(in crate::http) async fn enrol(
    SignedIn(caller): SignedIn,
    Body(request): Body<EnrolRequest>,
) -> Result<(StatusCode, Json<Device>)> {
    Ok((StatusCode::CREATED, Json(caller.enrol(&request).await?)))
}
