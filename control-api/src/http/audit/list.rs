use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsReader, Query};
use crate::http::problem::{BadQuery, ForReaders};
use crate::model::{ChainedEvent, Page, PageQuery};

/// Lists changes, newest first.
///
/// Each hash covers its entry and the hash before it; `nexa-control audit verify` follows them.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<ChainedEvent>), ForReaders, BadQuery),
)]
pub(in crate::http) async fn list(
    AsReader(reader): AsReader,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ChainedEvent>>> {
    reader.audit(&query).await.map(Json)
}
