use axum::Json;
use nexa_types::ResourceId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};
use crate::model::Resource;

/// Shows a resource.
#[utoipa::path(
    get,
    path = "/api/v1/resources/{id}",
    tag = "resources",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The resource.")),
    responses((status = 200, body = Resource), ForAdmins, Missing),
)]
pub(in crate::http) async fn get(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<ResourceId>,
) -> Result<Json<Resource>> {
    admin.resource(id).await.map(Json)
}
