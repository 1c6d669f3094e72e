use axum::Json;

use crate::app::Result;
use crate::http::extract::{AsReader, Query};
use crate::http::problem::{BadQuery, ForReaders};
use crate::model::{DropEvent, DropQuery, Page};

/// Lists packets that gateways dropped, newest first: why, by which rule, and which rule came closest to allowing them.
///
/// Of each gateway the newest 10,000 events are kept, for at most 7 days.
#[utoipa::path(
    get,
    path = "/api/v1/drops",
    tag = "drops",
    security(("session" = [])),
    params(DropQuery),
    responses((status = 200, body = Page<DropEvent>), ForReaders, BadQuery),
)]
pub(in crate::http) async fn list(
    AsReader(reader): AsReader,
    Query(query): Query<DropQuery>,
) -> Result<Json<Page<DropEvent>>> {
    reader.drops(query).await.map(Json)
}
