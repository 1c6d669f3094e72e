use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Query};
use crate::http::problem::{BadQuery, ForAdmins};
use crate::model::{Page, PageQuery, User};

/// Lists users, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    tag = "users",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<User>), ForAdmins, BadQuery),
)]
pub(in crate::http) async fn list(
    AsAdmin(admin): AsAdmin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<User>>> {
    admin.users(&query).await.map(Json)
}
