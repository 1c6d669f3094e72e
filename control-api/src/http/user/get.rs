use axum::Json;
use nexa_types::UserId;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Signed};
use crate::model::User;

/// Shows a user. A plain user sees himself only.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The user.")),
    responses((status = 200, body = User), Signed, Missing),
)]
pub(in crate::http) async fn get(SignedIn(caller): SignedIn, Ids(id): Ids<UserId>) -> Result<Json<User>> {
    caller.user(id).await.map(Json)
}
