use axum::Json;
use nexa_types::UserId;

use crate::app::{Result, UpdateUser};
use crate::http::extract::{AsAdmin, Body, Ids};
use crate::http::problem::{ForAdmins, Missing, Refused, WithBody};
use crate::model::User;

/// Changes a user.
///
/// Disabling ends the user's sessions and tunnels at once; a new password ends the sessions. Refused for the last owner.
#[utoipa::path(
    patch,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The user.")),
    responses((status = 200, body = User), ForAdmins, Missing, WithBody, Refused),
)]
pub(in crate::http) async fn update(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<UserId>,
    Body(request): Body<UpdateUser>,
) -> Result<Json<User>> {
    admin.update_user(id, request).await.map(Json)
}
