use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::app::{App, EnrolByToken, Result};
use crate::http::client_address::ClientAddress;
use crate::http::extract::Body;
use crate::http::problem::{Problem, Refused, WithBody};
use crate::model::Enrolled;

/// Enrols a device by a token, without a session. A refusal for the name or the key leaves the token as it is.
#[utoipa::path(
    post,
    path = "/api/v1/enrolments",
    tag = "devices",
    responses((status = 201, body = Enrolled), WithBody, Refused,
        (status = 403, body = Problem, content_type = "application/problem+json", description = "`enrolment_token_invalid`")),
)]
pub(in crate::http) async fn create(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    Body(request): Body<EnrolByToken>,
) -> Result<(StatusCode, Json<Enrolled>)> {
    Ok((StatusCode::CREATED, Json(app.enrol_by_token(&request, address).await?)))
}
