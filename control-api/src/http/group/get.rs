use axum::Json;
use nexa_types::GroupId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};
use crate::model::Group;

/// Shows a group with its members.
#[utoipa::path(
    get,
    path = "/api/v1/groups/{id}",
    tag = "groups",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The group.")),
    responses((status = 200, body = Group), ForAdmins, Missing),
)]
pub(in crate::http) async fn get(AsAdmin(admin): AsAdmin, Ids(id): Ids<GroupId>) -> Result<Json<Group>> {
    admin.group(id).await.map(Json)
}
