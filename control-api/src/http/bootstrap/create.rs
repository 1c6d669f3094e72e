use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, BootstrapRequest, Result};
use crate::http::client_address::ClientAddress;
use crate::http::extract::Body;
use crate::http::problem::{Problem, Refused, WithBody};
use crate::model::User;

/// Makes the first owner by the token that `nexa-control bootstrap` prints. Possible once.
#[utoipa::path(
    post,
    path = "/api/v1/bootstrap",
    tag = "sessions",
    responses((status = 201, body = Bootstrapped), WithBody, Refused,
        (status = 403, body = Problem, content_type = "application/problem+json", description = "`bootstrap_token_invalid`")),
)]
pub(in crate::http) async fn bootstrap(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    Body(request): Body<BootstrapRequest>,
) -> Result<(StatusCode, Json<Bootstrapped>)> {
    Ok((StatusCode::CREATED, Json(Bootstrapped { user: app.bootstrap(request, address).await? })))
}

/// The first owner.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Bootstrapped {
    /// Who can sign in now.
    user: User,
}
