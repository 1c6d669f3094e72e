use axum::Json;
use nexa_types::RuleId;

use crate::app::Result;
use crate::http::extract::{AsReader, Ids};
use crate::http::problem::{ForReaders, Missing};
use crate::model::RuleWithHits;

/// Shows a rule, with the packets that it decided on.
#[utoipa::path(
    get,
    path = "/api/v1/rules/{id}",
    tag = "rules",
    security(("session" = [])),
    params(("id" = u32, Path, description = "The number of the rule.")),
    responses((status = 200, body = RuleWithHits), ForReaders, Missing),
)]
pub(in crate::http) async fn get(
    AsReader(reader): AsReader,
    Ids(id): Ids<RuleId>,
) -> Result<Json<RuleWithHits>> {
    reader.rule(id).await.map(Json)
}
