use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsReader, Query};
use crate::http::problem::{BadQuery, ForReaders};
use crate::model::{Page, PageQuery, RuleWithHits};

/// Lists rules, lowest number first, each with the packets that it decided on.
#[utoipa::path(
    get,
    path = "/api/v1/rules",
    tag = "rules",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<RuleWithHits>), ForReaders, BadQuery),
)]
pub(in crate::http) async fn list(
    AsReader(reader): AsReader,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<RuleWithHits>>> {
    reader.rules(&query).await.map(Json)
}
