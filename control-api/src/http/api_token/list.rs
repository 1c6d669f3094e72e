use axum::Json;

use crate::app::Result;
use crate::http::extract::{Query, SignedIn};
use crate::http::problem::{BadQuery, Signed};
use crate::model::{ApiToken, Page, PageQuery};

/// Lists tokens of programs, oldest first: one's own, or everybody's for an auditor.
#[utoipa::path(
    get,
    path = "/api/v1/api-tokens",
    tag = "tokens",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<ApiToken>), Signed, BadQuery),
)]
pub(in crate::http) async fn list(
    SignedIn(caller): SignedIn,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ApiToken>>> {
    caller.api_tokens(&query).await.map(Json)
}
