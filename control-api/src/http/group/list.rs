use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Query};
use crate::http::problem::{BadQuery, ForAdmins};
use crate::model::{Group, Page, PageQuery};

/// Lists groups with their members, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/groups",
    tag = "groups",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Group>), ForAdmins, BadQuery),
)]
pub(in crate::http) async fn list(
    AsAdmin(admin): AsAdmin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Group>>> {
    admin.groups(&query).await.map(Json)
}
