use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Query};
use crate::http::problem::{BadQuery, ForAdmins};
use crate::model::{Page, PageQuery, Resource};

/// Lists resources, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/resources",
    tag = "resources",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Resource>), ForAdmins, BadQuery),
)]
pub(in crate::http) async fn list(
    AsAdmin(admin): AsAdmin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Resource>>> {
    admin.resources(&query).await.map(Json)
}
