use axum::http::StatusCode;
use nexa_types::RuleId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};

/// Removes a rule. What only it allowed is cut off at once.
#[utoipa::path(
    delete,
    path = "/api/v1/rules/{id}",
    tag = "rules",
    security(("session" = [])),
    params(("id" = u32, Path, description = "The number of the rule.")),
    responses((status = 204), ForAdmins, Missing),
)]
pub(in crate::http) async fn delete(AsAdmin(admin): AsAdmin, Ids(id): Ids<RuleId>) -> Result<StatusCode> {
    admin.delete_rule(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
