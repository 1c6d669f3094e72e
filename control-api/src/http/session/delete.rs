use axum::http::StatusCode;

use crate::app::Result;
use crate::http::extract::SignedIn;
use crate::http::problem::Signed;

/// Signs out.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/current",
    tag = "sessions",
    security(("session" = [])),
    responses((status = 204), Signed),
)]
pub(in crate::http) async fn delete(SignedIn(caller): SignedIn) -> Result<StatusCode> {
    caller.sign_out().await?;
    Ok(StatusCode::NO_CONTENT)
}
