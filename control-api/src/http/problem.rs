use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::request_log;
use crate::app::Error;

/// Why a request was not served (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What the status means.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What to do.
    detail: String,
    /// Stable name of the reason.
    #[schema(example = "name_taken")]
    code: &'static str,
    /// Which member of the request is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
    /// The request's id, which the log has too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<Box<str>>,
    /// For the header `Retry-After`.
    #[serde(skip)]
    retry_after_seconds: Option<u16>,
}

/// Problems of every endpoint that a session is needed for.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum Signed {
    /// Nobody is signed in: `unauthenticated`.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// The caller may not: `operator_required`, `admin_required`; or is a program whose token does not cover it:
    /// `scope_missing`, `session_required`.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The database is away: `database_unavailable`, or has no room: `database_full`. Try again after `Retry-After`
    /// seconds.
    #[response(status = 503, content_type = "application/problem+json")]
    Away(Problem),
}

/// Problems of every endpoint for auditors and whoever may do more.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum ForReaders {
    /// Nobody is signed in: `unauthenticated`.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// The caller is a plain user: `auditor_required`; or a program whose token does not cover it: `scope_missing`.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The database is away: `database_unavailable`, or has no room: `database_full`. Try again after `Retry-After`
    /// seconds.
    #[response(status = 503, content_type = "application/problem+json")]
    Away(Problem),
}

/// Problems of every endpoint for administrators.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum ForAdmins {
    /// Nobody is signed in: `unauthenticated`.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// The caller is no administrator: `admin_required`; or touches an owner and is none: `role_too_high`; or is a
    /// program whose token does not cover it: `scope_missing`.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The database is away: `database_unavailable`, or has no room: `database_full`. Try again after `Retry-After`
    /// seconds.
    #[response(status = 503, content_type = "application/problem+json")]
    Away(Problem),
}

/// Problems of every endpoint that takes a body.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum WithBody {
    /// The body is no JSON: `malformed_json`.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// The body is larger than 64 KiB: `body_too_large`.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not said to be JSON: `unsupported_media_type`.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// A member is missing, unknown or makes no sense; `field` names it.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
}

/// The query makes no sense.
#[derive(IntoResponses)]
#[response(
    status = 422,
    content_type = "application/problem+json",
    description = "The query makes no sense."
)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) struct BadQuery(Problem);

/// There is no such thing, or the caller may not know of it.
#[derive(IntoResponses)]
#[response(
    status = 404,
    content_type = "application/problem+json",
    description = "No such thing: `not_found`."
)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) struct Missing(Problem);

/// The state of things does not allow it.
#[derive(IntoResponses)]
#[response(
    status = 409,
    content_type = "application/problem+json",
    description = "The state of things does not allow it; `code` says why, like `name_taken` or `in_use`."
)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) struct Refused(Problem);

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl ToString) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        Self {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail: detail.to_string(),
            code,
            field: None,
            request_id: request_log::current_id().map(String::into_boxed_str),
            retry_after_seconds: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }

    pub(super) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem has string keys, so it is JSON");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Invalid { code, field, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).at(field)
            }
            Error::Unauthenticated { code, .. } => Self::new(StatusCode::UNAUTHORIZED, code, detail),
            Error::Forbidden { code, .. } => Self::new(StatusCode::FORBIDDEN, code, detail),
            Error::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            Error::Conflict { code, field, .. } => {
                let problem = Self::new(StatusCode::CONFLICT, code, detail);
                Self { field: field.map(str::to_owned), ..problem }
            }
            Error::TooMany { retry_after_seconds } => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail);
                Self { retry_after_seconds: Some(retry_after_seconds), ..problem }
            }
            Error::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail),
            Error::Collided => Self::new(StatusCode::SERVICE_UNAVAILABLE, "try_again", detail),
            Error::DatabaseAway(reason) => {
                tracing::warn!(reason, "the database is away");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", detail)
            }
            Error::DatabaseFull(reason) => {
                tracing::error!(reason, "the database has no room; free some on its disk");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_full", detail)
            }
            Error::Internal(reason) => {
                tracing::error!(reason, "a request failed by a defect");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

pub(super) async fn no_such_route(request: Request) -> Problem {
    let detail = format!("there is no {}; /api/docs lists what there is", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", detail)
}

pub(super) async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} is not possible here; /api/docs lists what is", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
