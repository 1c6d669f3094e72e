use axum::extract::State;

use crate::app::{App, Result};
use crate::http::problem::Problem;

/// Whether requests can be served: the database answers and is migrated.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "`database_unavailable`")),
)]
pub(in crate::http) async fn ready(State(app): State<App>) -> Result<&'static str> {
    app.ready().await?;
    Ok("ready\n")
}
