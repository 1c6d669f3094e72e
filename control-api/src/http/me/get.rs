use axum::Json;

use crate::http::extract::SignedIn;
use crate::http::problem::Signed;
use crate::model::User;

/// Shows who is signed in.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    tag = "sessions",
    security(("session" = [])),
    responses((status = 200, body = User), Signed),
)]
pub(in crate::http) async fn get(SignedIn(caller): SignedIn) -> Json<User> {
    Json(caller.me().clone())
}
