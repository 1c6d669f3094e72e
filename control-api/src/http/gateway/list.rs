use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsReader, Query};
use crate::http::problem::{BadQuery, ForReaders};
use crate::model::{Gateway, Page, PageQuery};

/// Lists gateways, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/gateways",
    tag = "gateways",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Gateway>), ForReaders, BadQuery),
)]
pub(in crate::http) async fn list(
    AsReader(reader): AsReader,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Gateway>>> {
    reader.gateways(&query).await.map(Json)
}
