use axum::Json;
use nexa_types::RuleId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};
use crate::model::Rule;

/// Shows a rule.
#[utoipa::path(
    get,
    path = "/api/v1/rules/{id}",
    tag = "rules",
    security(("session" = [])),
    params(("id" = u32, Path, description = "The number of the rule.")),
    responses((status = 200, body = Rule), ForAdmins, Missing),
)]
pub(in crate::http) async fn get(AsAdmin(admin): AsAdmin, Ids(id): Ids<RuleId>) -> Result<Json<Rule>> {
    admin.rule(id).await.map(Json)
}
