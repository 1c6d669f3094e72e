use axum::http::StatusCode;
use uuid::Uuid;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Signed};

/// Ends a session at once: one's own, or anybody's for an administrator.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    security(("session" = [])),
    params(("id" = Uuid, Path, description = "The session.")),
    responses((status = 204), Signed, Missing),
)]
pub(in crate::http) async fn revoke(SignedIn(caller): SignedIn, Ids(id): Ids<Uuid>) -> Result<StatusCode> {
    caller.revoke_session(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
