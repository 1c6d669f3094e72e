use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Query};
use crate::http::problem::{BadQuery, ForAdmins};
use crate::model::{AuditEvent, Page, PageQuery};

/// Lists changes, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<AuditEvent>), ForAdmins, BadQuery),
)]
pub(in crate::http) async fn list(
    AsAdmin(admin): AsAdmin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AuditEvent>>> {
    admin.audit(&query).await.map(Json)
}
