//! What handlers take from a request, with problems for what is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Path, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use serde::de::DeserializeOwned;

use super::client_address::ClientAddress;
use super::problem::Problem;
use crate::app::{Admin, App, Caller, Error, Reader, Touch};

/// A signed-in user.
pub(super) struct SignedIn(pub(super) Caller);

/// Somebody who may see everything.
pub(super) struct AsReader(pub(super) Reader);

/// A signed-in administrator.
pub(super) struct AsAdmin(pub(super) Admin);

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// The query string.
pub(super) struct Query<T>(pub(super) T);

/// Ids in the path. One that cannot be an id is like one that there is not.
pub(super) struct Ids<T>(pub(super) T);

impl FromRequestParts<App> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(app.caller(bearer(parts)?, ClientAddress::of(parts).0, touch(parts)).await?))
    }
}

impl FromRequestParts<App> for AsReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(SignedIn::from_request_parts(parts, app).await?.0.reader()?))
    }
}

impl FromRequestParts<App> for AsAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(SignedIn::from_request_parts(parts, app).await?.0.admin()?))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Ids<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, app).await;
        Ok(Self(path.map_err(|_| Error::NotFound("such thing"))?.0))
    }
}

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        let wrong =
            |error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", error).at("query");
        Ok(Self(query.map_err(wrong)?.0))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !is_json(&request) {
            let detail = "send the body as JSON, with the header `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let bytes =
            Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    let detail = "a body may have 64 KiB; send less at once";
                    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
                }
                _ => Problem::new(
                    StatusCode::BAD_REQUEST,
                    "body_unreadable",
                    "the body ended early; send it again",
                ),
            })?;
        parse(&bytes).map(Self)
    }
}

/// What a request touches: the noun is the route's first, below the version.
fn touch(parts: &Parts) -> Touch<'_> {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let noun = route.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    Touch { noun, reads: matches!(parts.method, Method::GET | Method::HEAD) }
}

/// The token of the request's `Authorization` header.
pub(super) fn bearer(parts: &Parts) -> Result<&str, Problem> {
    let missing = || {
        let detail = "send a token: `Authorization: Bearer <token>`; POST /api/v1/sessions gives one";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    };
    let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}

fn is_json(request: &Request) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|text| text.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let malformed = |error: &dyn std::fmt::Display| {
        Problem::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is no JSON: {error}"))
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        match error.inner() {
            inner if inner.is_data() => {
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", inner);
                problem.at(blamed(&path, &inner.to_string()))
            }
            inner => malformed(inner),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// The member to blame: serde's path, or the name that its message quotes where the path ends above it.
fn blamed(path: &str, message: &str) -> String {
    let quoted = ["unknown field `", "missing field `"]
        .iter()
        .find_map(|start| message.split_once(start)?.1.split_once('`').map(|(name, _)| name));
    match (path, quoted) {
        (".", Some(name)) => name.to_owned(),
        (".", None) => "body".to_owned(),
        (path, Some(name)) if path != name && !path.ends_with(&format!(".{name}")) => {
            format!("{path}.{name}")
        }
        (path, _) => path.to_owned(),
    }
}
