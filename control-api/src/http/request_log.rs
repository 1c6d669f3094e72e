use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use uuid::Uuid;

/// Carries a request's id in and out.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static ID: String;
}

/// The id of the request that is being served, if one is.
pub(super) fn current_id() -> Option<String> {
    ID.try_with(Clone::clone).ok()
}

/// Logs each request in one line: its route, not its path, which may name people. Every line that is logged meanwhile
/// has the request's id, and so has the answer.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let id = id_of(request.headers());
    let span = tracing::info_span!("request", request_id = id);
    ID.scope(id, served(request, next).instrument(span)).await
}

async fn served(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "-".to_owned());
    let begun = Instant::now();
    let mut response = next.run(request).await;
    if let Some(id) = current_id().and_then(|id| HeaderValue::try_from(id).ok()) {
        response.headers_mut().insert(HEADER, id);
    }
    let (status, milliseconds) = (response.status().as_u16(), begun.elapsed().as_millis());
    if matches!(&*route, "/healthz" | "/readyz") {
        tracing::debug!(%method, route, status, milliseconds, "request");
    } else {
        tracing::info!(%method, route, status, milliseconds, "request");
    }
    response
}

/// The id that the caller, or a proxy before us, gave the request, so that its lines and ours meet; else a new one.
/// Only what can neither break a line nor fill the log is taken over.
fn id_of(headers: &HeaderMap) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
    let given = given.filter(|id| (8..=64).contains(&id.len()) && id.bytes().all(harmless));
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}
