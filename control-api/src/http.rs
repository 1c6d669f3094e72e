//! The HTTP API: one endpoint, one file. Everything that answers here is in the OpenAPI document.

mod api_token;
mod audit;
mod bootstrap;
mod client_address;
mod device;
mod drop;
mod enrolment;
mod extract;
mod gateway;
mod group;
mod health;
mod me;
mod network;
mod password;
mod problem;
mod request_log;
mod resource;
mod rule;
mod session;
mod user;
mod web;

use std::path::Path;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;

pub use client_address::TrustedProxies;

/// The largest body that is read, bytes.
const MAX_BODY_BYTES: usize = 64 << 10;

/// How the API is served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serving<'a> {
    /// Folder of the web app, whose files are behind the routes.
    pub web: Option<&'a Path>,
    /// Who may say on whose behalf he asks; nobody where it is left out.
    pub trusted_proxies: Option<&'a TrustedProxies>,
}

/// All routes; behind them the files of the web app.
pub fn router(app: App, serving: Serving<'_>) -> Router {
    let trusted = serving.trusted_proxies.cloned().unwrap_or_default();
    let (routes, document) = documented().split_for_parts();
    let routes = routes.merge(SwaggerUi::new("/api/docs").url("/api/openapi.json", document));
    let routes = match serving.web {
        Some(folder) => web::behind(routes, folder),
        None => routes.fallback(problem::no_such_route),
    };
    routes
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(trusted, client_address::note))
        .layer(axum::middleware::from_fn(request_log::log))
        .with_state(app)
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().split_for_parts().1
}

fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(bootstrap::bootstrap))
        .routes(routes!(session::list, session::create))
        .routes(routes!(session::delete))
        .routes(routes!(session::revoke))
        .routes(routes!(api_token::list, api_token::create))
        .routes(routes!(api_token::delete))
        .routes(routes!(me::get))
        .routes(routes!(user::list, user::create))
        .routes(routes!(user::get, user::update, user::delete))
        .routes(routes!(user::password_link))
        .routes(routes!(user::enrolment_token))
        .routes(routes!(enrolment::create))
        .routes(routes!(password::set))
        .routes(routes!(group::list, group::create))
        .routes(routes!(group::get, group::delete))
        .routes(routes!(group::add_member, group::remove_member))
        .routes(routes!(resource::list, resource::create))
        .routes(routes!(resource::get, resource::replace, resource::delete))
        .routes(routes!(rule::list, rule::create))
        .routes(routes!(rule::get, rule::update, rule::delete))
        .routes(routes!(device::list, device::enrol))
        .routes(routes!(device::get, device::update, device::delete))
        .routes(routes!(device::profile))
        .routes(routes!(device::counters))
        .routes(routes!(device::wg_quick))
        .routes(routes!(gateway::list, gateway::create))
        .routes(routes!(gateway::get, gateway::update, gateway::delete))
        .routes(routes!(gateway::renew_token))
        .routes(routes!(gateway::health))
        .routes(routes!(gateway::stream))
        .routes(routes!(network::get, network::replace))
        .routes(routes!(drop::list))
        .routes(routes!(audit::list))
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "NexaVPN control API",
        description = "Users, policy, enrolment and gateways. Errors are application/problem+json (RFC 9457) with a \
                       stable `code`, and a `detail` that says what to do.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&Security),
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |_| SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        for name in ["session", "gateway"] {
            components.add_security_scheme(name, bearer(name));
        }
    }
}
