use axum::Json;
use nexa_types::RuleId;

use crate::app::Result;
use crate::http::extract::{AsAdmin, Ids};
use crate::http::problem::{ForAdmins, Missing};
use crate::model::RuleWithHits;

/// Shows a rule, with the packets that it decided on.
#[utoipa::path(
    get,
    path = "/api/v1/rules/{id}",
    tag = "rules",
    security(("session" = [])),
    params(("id" = u32, Path, description = "The number of the rule.")),
    responses((status = 200, body = RuleWithHits), ForAdmins, Missing),
)]
pub(in crate::http) async fn get(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<RuleId>,
) -> Result<Json<RuleWithHits>> {
    admin.rule(id).await.map(Json)
}
