use axum::Json;

use crate::app::Result;
use crate::http::extract::{Query, SignedIn};
use crate::http::problem::{BadQuery, Signed};
use crate::model::{Device, Page, PageQuery};

/// Lists devices, oldest first: all for an administrator, one's own for a user.
#[utoipa::path(
    get,
    path = "/api/v1/devices",
    tag = "devices",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Device>), Signed, BadQuery),
)]
pub(in crate::http) async fn list(
    SignedIn(caller): SignedIn,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Device>>> {
    caller.devices(&query).await.map(Json)
}
