use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsReader, Query};
use crate::http::problem::{BadQuery, ForReaders};
use crate::model::{Group, Page, PageQuery};

/// Lists groups with their members, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/groups",
    tag = "groups",
    security(("session" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Group>), ForReaders, BadQuery),
)]
pub(in crate::http) async fn list(
    AsReader(reader): AsReader,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Group>>> {
    reader.groups(&query).await.map(Json)
}
