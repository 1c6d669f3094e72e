use axum::Json;

use crate::app::Result;
use crate::http::extract::{Query, SignedIn};
use crate::http::problem::{BadQuery, Signed};
use crate::model::{ActiveSession, Page, PageQuery};

/// Lists sessions that last, oldest first: one's own, or everybody's for an auditor.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    tag = "sessions",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<ActiveSession>), Signed, BadQuery),
)]
pub(in crate::http) async fn list(
    SignedIn(caller): SignedIn,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ActiveSession>>> {
    caller.sessions(&query).await.map(Json)
}
