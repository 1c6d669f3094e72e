use axum::http::StatusCode;
use nexa_types::ResourceId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing, Refused};

/// Removes a resource. Refused while a rule names it.
#[utoipa::path(
    delete,
    path = "/api/v1/resources/{id}",
    tag = "resources",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The resource.")),
    responses((status = 204), ForAdmins, Missing, Refused),
)]
pub(in crate::http) async fn delete(AsAdmin(admin): AsAdmin, Ids(id): Ids<ResourceId>) -> Result<StatusCode> {
    admin.delete_resource(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
