use axum::http::StatusCode;
use uuid::Uuid;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Signed};

/// Ends a token at once: one's own, or anybody's for an administrator.
#[utoipa::path(
    delete,
    path = "/api/v1/api-tokens/{id}",
    tag = "tokens",
    security(("session" = [])),
    params(("id" = Uuid, Path, description = "The token.")),
    responses((status = 204), Signed, Missing),
)]
pub(in crate::http) async fn delete(SignedIn(caller): SignedIn, Ids(id): Ids<Uuid>) -> Result<StatusCode> {
    caller.delete_api_token(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
