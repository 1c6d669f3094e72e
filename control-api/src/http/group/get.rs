use axum::Json;
use nexa_types::GroupId;

use crate::app::Result;
use crate::http::extract::{AsReader, Ids};
use crate::http::problem::{ForReaders, Missing};
use crate::model::Group;

/// Shows a group with its members.
#[utoipa::path(
    get,
    path = "/api/v1/groups/{id}",
    tag = "groups",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The group.")),
    responses((status = 200, body = Group), ForReaders, Missing),
)]
pub(in crate::http) async fn get(AsReader(reader): AsReader, Ids(id): Ids<GroupId>) -> Result<Json<Group>> {
    reader.group(id).await.map(Json)
}
