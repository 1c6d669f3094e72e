use axum::extract::State;
use axum::http::StatusCode;

use crate::app::{App, Result, SetPassword};
use crate::http::client_address::ClientAddress;
use crate::http::extract::Body;
use crate::http::problem::{Problem, WithBody};

/// Sets a password by a link, which is used up; the user's sessions end.
#[utoipa::path(
    post,
    path = "/api/v1/passwords",
    tag = "sessions",
    responses((status = 204), WithBody,
        (status = 403, body = Problem, content_type = "application/problem+json", description = "`password_link_invalid`")),
)]
pub(in crate::http) async fn set(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    Body(request): Body<SetPassword>,
) -> Result<StatusCode> {
    app.set_password(request, address).await?;
    Ok(StatusCode::NO_CONTENT)
}
