use axum::Json;
use nexa_types::ResourceId;

use crate::app::Result;
use crate::http::extract::{AsReader, Ids};
use crate::http::problem::{ForReaders, Missing};
use crate::model::Resource;

/// Shows a resource.
#[utoipa::path(
    get,
    path = "/api/v1/resources/{id}",
    tag = "resources",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The resource.")),
    responses((status = 200, body = Resource), ForReaders, Missing),
)]
pub(in crate::http) async fn get(
    AsReader(reader): AsReader,
    Ids(id): Ids<ResourceId>,
) -> Result<Json<Resource>> {
    reader.resource(id).await.map(Json)
}
