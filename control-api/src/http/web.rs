//! The built web app, from a folder. Everything that is no route of the API is looked for there.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tower_http::services::ServeDir;

use super::problem;

/// What pages are held to: nothing from elsewhere, nothing inline. As `admin-web/vite.config.ts` has it, which the
/// page's own tests run under.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Adds the files of `folder` behind all routes of the API.
pub(super) fn behind<S: Clone + Send + Sync + 'static>(routes: Router<S>, folder: &Path) -> Router<S> {
    let files = Router::<()>::new()
        .fallback_service(ServeDir::new(folder).fallback(axum::routing::any(problem::no_such_route)))
        .layer(axum::middleware::from_fn(hold));
    routes.fallback_service(files)
}

/// Lets only GET and HEAD outside the API reach the files, and holds what they answer to the policy.
async fn hold(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if request.uri().path().starts_with("/api/") || !reads {
        return problem::no_such_route(request).await.into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
