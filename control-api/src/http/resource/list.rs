use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsReader, Query};
use crate::http::problem::{BadQuery, ForReaders};
use crate::model::{Page, PageQuery, Resource};

/// Lists resources, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/resources",
    tag = "resources",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Resource>), ForReaders, BadQuery),
)]
pub(in crate::http) async fn list(
    AsReader(reader): AsReader,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Resource>>> {
    reader.resources(&query).await.map(Json)
}
