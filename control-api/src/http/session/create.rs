use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::app::{App, Result, SignIn};
use crate::http::client_address::ClientAddress;
use crate::http::extract::Body;
use crate::http::problem::{Problem, WithBody};
use crate::model::Session;

/// Signs in.
#[utoipa::path(
    post,
    path = "/api/v1/sessions",
    tag = "sessions",
    responses((status = 201, body = Session), WithBody,
        (status = 429, body = Problem, content_type = "application/problem+json",
            description = "`too_many_attempts`; try again after `Retry-After` seconds"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "`bad_credentials`")),
)]
pub(in crate::http) async fn create(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    Body(request): Body<SignIn>,
) -> Result<(StatusCode, Json<Session>)> {
    Ok((StatusCode::CREATED, Json(app.sign_in(request, address).await?)))
}
