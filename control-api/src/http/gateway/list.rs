use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Query};
use crate::http::problem::{BadQuery, ForAdmins};
use crate::model::{Gateway, Page, PageQuery};

/// Lists gateways, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/gateways",
    tag = "gateways",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Gateway>), ForAdmins, BadQuery),
)]
pub(in crate::http) async fn list(
    AsAdmin(admin): AsAdmin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Gateway>>> {
    admin.gateways(&query).await.map(Json)
}
