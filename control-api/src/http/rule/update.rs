use axum::Json;
use nexa_types::RuleId;

use crate::app::{Result, UpdateRule};
use crate::http::extract::{AsAdmin, Body, Ids};
use crate::http::problem::{ForAdmins, Missing, Refused, WithBody};
use crate::model::Rule;

/// Changes a rule's note, when it speaks, or whether it is in force.
#[utoipa::path(
    patch,
    path = "/api/v1/rules/{id}",
    tag = "rules",
    security(("session" = [])),
    params(("id" = u32, Path, description = "The number of the rule.")),
    responses((status = 200, body = Rule), ForAdmins, Missing, WithBody, Refused),
)]
pub(in crate::http) async fn update(
    AsAdmin(admin): AsAdmin,
    Ids(id): Ids<RuleId>,
    Body(request): Body<UpdateRule>,
) -> Result<Json<Rule>> {
    admin.update_rule(id, &request).await.map(Json)
}
