use nexa_types::DeviceId;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Refused, Signed};

/// Shows a device's profile as a file for wg-quick.
///
/// Put the private key in the place of `REPLACE_WITH_YOUR_PRIVATE_KEY`; the server never has it.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{id}/wg-quick",
    tag = "devices",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The device.")),
    responses((status = 200, body = String, content_type = "text/plain"), Signed, Missing, Refused),
)]
pub(in crate::http) async fn wg_quick(SignedIn(caller): SignedIn, Ids(id): Ids<DeviceId>) -> Result<String> {
    caller.wg_quick(id).await
}
