use axum::Json;
use nexa_types::ResourceId;

use crate::app::{ResourceBody, Result};
use crate::http::extract::{AsAdmin, Body, Ids};
use crate::http::problem::{ForAdmins, Missing, Refused, WithBody};
use crate::model::Resource;

/// Replaces all of a resource but its id.
#[utoipa::path(
    put,
    path = "/api/v1/resources/{id}",
    tag = "resources",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The resource.")),
    responses((status = 200, body = Resource), ForAdmins, Missing, WithBody, Refused),
)]
pub(in crate::http) async fn replace(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<ResourceId>,
    Body(request): Body<ResourceBody>,
) -> Result<Json<Resource>> {
    admin.replace_resource(id, &request).await.map(Json)
}
