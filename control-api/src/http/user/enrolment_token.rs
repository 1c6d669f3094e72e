use axum::Json;
use axum::http::StatusCode;
use nexa_types::UserId;

use crate::app::Result;
use crate::http::extract::{Ids, SignedIn};
use crate::http::problem::{Missing, Refused, Signed};
use crate::model::EnrolmentToken;

/// Makes a token by which one device is enrolled for a user, within 24 hours: for oneself, or for anybody as an
/// administrator.
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/enrolment-tokens",
    tag = "users",
    security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The user.")),
    responses((status = 201, body = EnrolmentToken), Signed, Missing, Refused),
)]
pub(in crate::http) async fn enrolment_token(
    SignedIn(caller): SignedIn,
    Ids(id): Ids<UserId>,
) -> Result<(StatusCode, Json<EnrolmentToken>)> {
    Ok((StatusCode::CREATED, Json(caller.make_enrolment_token(id).await?)))
}
