use axum::Json;
use axum::http::StatusCode;

use crate::app::{CreateApiToken, Result};
use crate::http::extract::{Body, SignedIn};
use crate::http::problem::{Refused, Signed, WithBody};
use crate::model::ApiTokenWithSecret;

/// Makes a token for a program. It acts for the caller, within its scopes, and is shown this once.
///
/// Only a session makes tokens: a token makes none.
#[utoipa::path(
    post,
    path = "/api/v1/api-tokens",
    tag = "tokens",
    security(("session" = [])),
    responses((status = 201, body = ApiTokenWithSecret), Signed, WithBody, Refused),
)]
pub(in crate::http) async fn create(
    SignedIn(caller): SignedIn,
    Body(request): Body<CreateApiToken>,
) -> Result<(StatusCode, Json<ApiTokenWithSecret>)> {
    Ok((StatusCode::CREATED, Json(caller.create_api_token(request).await?)))
}
