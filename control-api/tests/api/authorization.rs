//! Every route of the document × everyone who may call it = the status written here.

use std::collections::BTreeSet;

use nexa_control::http::openapi;
use serde_json::{Value, json};

use crate::support::{Api, Client, PASSWORD, Stream, in_an_hour, key, unique};

/// Method, path, then the status for each of [`CALLERS`].
///
/// The user concerned is the one in the path, or owns the device, the session or the token in it.
const ROWS: &[(&str, &str, [u16; 6])] = &[
    ("GET", "/healthz", [200, 200, 200, 200, 200, 200]),
    ("GET", "/readyz", [200, 200, 200, 200, 200, 200]),
    ("POST", "/api/v1/bootstrap", [409, 409, 409, 409, 409, 409]),
    ("POST", "/api/v1/sessions", [201, 201, 201, 201, 201, 201]),
    ("GET", "/api/v1/sessions", [401, 200, 200, 200, 200, 200]),
    ("DELETE", "/api/v1/sessions/{id}", [401, 404, 204, 403, 403, 204]),
    ("GET", "/api/v1/api-tokens", [401, 200, 200, 200, 200, 200]),
    ("POST", "/api/v1/api-tokens", [401, 201, 201, 201, 201, 201]),
    ("DELETE", "/api/v1/api-tokens/{id}", [401, 404, 204, 403, 403, 204]),
    ("DELETE", "/api/v1/sessions/current", [401, 204, 204, 204, 204, 204]),
    ("GET", "/api/v1/me", [401, 200, 200, 200, 200, 200]),
    ("GET", "/api/v1/users", [401, 403, 403, 200, 200, 200]),
    ("POST", "/api/v1/users", [401, 403, 403, 403, 403, 201]),
    ("GET", "/api/v1/users/{id}", [401, 404, 200, 200, 200, 200]),
    ("PATCH", "/api/v1/users/{id}", [401, 403, 403, 403, 403, 200]),
    ("DELETE", "/api/v1/users/{id}", [401, 403, 403, 403, 403, 204]),
    ("POST", "/api/v1/users/{id}/password-link", [401, 403, 403, 403, 403, 201]),
    ("POST", "/api/v1/users/{id}/enrolment-tokens", [401, 404, 201, 403, 403, 201]),
    ("POST", "/api/v1/enrolments", [403, 403, 403, 403, 403, 403]),
    ("POST", "/api/v1/passwords", [403, 403, 403, 403, 403, 403]),
    ("GET", "/api/v1/groups", [401, 403, 403, 200, 200, 200]),
    ("POST", "/api/v1/groups", [401, 403, 403, 403, 403, 201]),
    ("GET", "/api/v1/groups/{id}", [401, 403, 403, 200, 200, 200]),
    ("DELETE", "/api/v1/groups/{id}", [401, 403, 403, 403, 403, 204]),
    ("PUT", "/api/v1/groups/{id}/members/{user_id}", [401, 403, 403, 403, 403, 204]),
    ("DELETE", "/api/v1/groups/{id}/members/{user_id}", [401, 403, 403, 403, 403, 204]),
    ("GET", "/api/v1/resources", [401, 403, 403, 200, 200, 200]),
    ("POST", "/api/v1/resources", [401, 403, 403, 403, 403, 201]),
    ("GET", "/api/v1/resources/{id}", [401, 403, 403, 200, 200, 200]),
    ("PUT", "/api/v1/resources/{id}", [401, 403, 403, 403, 403, 200]),
    ("DELETE", "/api/v1/resources/{id}", [401, 403, 403, 403, 403, 204]),
    ("GET", "/api/v1/rules", [401, 403, 403, 200, 200, 200]),
    ("POST", "/api/v1/rules", [401, 403, 403, 403, 403, 201]),
    ("GET", "/api/v1/rules/{id}", [401, 403, 403, 200, 200, 200]),
    ("PATCH", "/api/v1/rules/{id}", [401, 403, 403, 403, 403, 200]),
    ("DELETE", "/api/v1/rules/{id}", [401, 403, 403, 403, 403, 204]),
    ("GET", "/api/v1/devices", [401, 200, 200, 200, 200, 200]),
    ("POST", "/api/v1/devices", [401, 201, 201, 201, 201, 201]),
    ("GET", "/api/v1/devices/{id}", [401, 404, 200, 200, 200, 200]),
    ("PATCH", "/api/v1/devices/{id}", [401, 404, 200, 403, 200, 200]),
    ("DELETE", "/api/v1/devices/{id}", [401, 404, 204, 403, 204, 204]),
    ("GET", "/api/v1/devices/{id}/profile", [401, 404, 200, 200, 200, 200]),
    ("GET", "/api/v1/devices/{id}/counters", [401, 404, 200, 200, 200, 200]),
    ("GET", "/api/v1/devices/{id}/wg-quick", [401, 404, 200, 200, 200, 200]),
    ("GET", "/api/v1/gateways", [401, 403, 403, 200, 200, 200]),
    ("POST", "/api/v1/gateways", [401, 403, 403, 403, 403, 201]),
    ("GET", "/api/v1/gateways/{id}", [401, 403, 403, 200, 200, 200]),
    ("PATCH", "/api/v1/gateways/{id}", [401, 403, 403, 403, 403, 200]),
    ("DELETE", "/api/v1/gateways/{id}", [401, 403, 403, 403, 403, 204]),
    ("GET", "/api/v1/gateways/{id}/health", [401, 403, 403, 200, 200, 200]),
    ("POST", "/api/v1/gateways/{id}/token", [401, 403, 403, 403, 403, 200]),
    ("GET", "/api/v1/gateway/stream", [401, 401, 401, 401, 401, 401]),
    ("GET", "/api/v1/network", [401, 403, 403, 200, 200, 200]),
    ("PUT", "/api/v1/network", [401, 403, 403, 403, 403, 200]),
    ("GET", "/api/v1/drops", [401, 403, 403, 200, 200, 200]),
    ("GET", "/api/v1/audit", [401, 403, 403, 200, 200, 200]),
];

/// Who calls.
const CALLERS: [&str; 6] = ["nobody", "another", "concerned", "auditor", "operator", "admin"];

/// Every scope, with the nouns that it lets a program write.
const SCOPES: [(&str, &[&str]); 5] = [
    ("read", &[]),
    ("devices:write", &["devices"]),
    ("policy:write", &["resources", "rules"]),
    ("users:write", &["users", "groups"]),
    ("gateways:write", &["gateways", "network"]),
];

#[test]
fn every_route_has_a_row() {
    let document = serde_json::to_value(openapi()).unwrap();
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "patch", "delete"] {
            if item.get(method).is_some() {
                routes.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    let rows: BTreeSet<_> =
        ROWS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(routes, rows);
    assert_eq!(rows.len(), ROWS.len(), "no row twice");
}

#[tokio::test]
async fn every_row_holds() {
    let (api, owner, _stream) = with_gateway().await;
    for (method, path, statuses) in ROWS {
        for (caller, status) in CALLERS.into_iter().zip(statuses) {
            let things = Things::make(&api, &owner).await;
            let client = match caller {
                "nobody" => api.anonymous(),
                "another" => api.user(&unique("another"), "user").await,
                "concerned" => things.user.clone(),
                role => api.user(&unique(role), role).await,
            };
            let reply = client.call(method, &things.path(path), things.body(method, path)).await;
            assert_eq!(reply.status.as_u16(), *status, "{method} {path} as {caller}: {}", reply.text);
        }
    }
}

/// A program may do what its user may, as far as its scopes go.
#[tokio::test]
async fn every_row_holds_for_programs_within_their_scopes() {
    let (api, owner, _stream) = with_gateway().await;
    for (method, path, [_, _, _, _, _, admin]) in ROWS {
        let noun = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next());
        // Who asks without showing a token is not asked for one.
        let Some(noun) =
            noun.filter(|noun| !matches!(*noun, "bootstrap" | "gateway" | "passwords" | "enrolments"))
        else {
            continue;
        };
        if (*method, *path) == ("POST", "/api/v1/sessions") {
            continue;
        }
        for (scope, writes) in SCOPES {
            let user = api.user(&unique("admin"), "admin").await;
            let mut program = user.clone();
            program.token = Some(user.make_api_token(&[scope]).await["token"].as_str().unwrap().to_owned());
            let things = Things::make(&api, &owner).await;
            let reply = program.call(method, &things.path(path), things.body(method, path)).await;
            let never = matches!(noun, "sessions" | "api-tokens");
            let may = !never && if *method == "GET" { scope == "read" } else { writes.contains(&noun) };
            if may {
                assert_eq!(reply.status.as_u16(), *admin, "{method} {path} with {scope}: {}", reply.text);
            } else {
                reply.problem(403, if never { "session_required" } else { "scope_missing" });
            }
        }
    }
}

/// A server with an owner, and a gateway whose key makes profiles complete.
async fn with_gateway() -> (Api, Client, Stream) {
    let api = Api::start().await;
    let owner = api.owner().await;
    let gateway = owner.make_gateway().await;
    let mut stream = api.stream(gateway["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    stream.snapshot().await;
    (api, owner, stream)
}

/// One of each, made anew for each call.
struct Things {
    user: Client,
    group: Value,
    resource: Value,
    rule: Value,
    device: Value,
    gateway: Value,
    api_token: Value,
    session: String,
}

impl Things {
    async fn make(api: &Api, owner: &Client) -> Self {
        let user = api.user(&unique("concerned"), "user").await;
        let group = owner.make_group().await;
        let member = format!("/api/v1/groups/{}/members/{}", group["id"].as_str().unwrap(), user.id);
        owner.call("PUT", &member, None).await.ok(204);
        let resource = owner.make_resource(&["10.0.0.0/8"]).await;
        let ruled = owner.make_resource(&["10.0.0.0/8"]).await;
        let rule = owner.make_rule(json!({ "kind": "everyone" }), &ruled).await;
        let device = user.enrol().await;
        let gateway = owner.make_gateway().await;
        let api_token = user.make_api_token(&["read"]).await;
        let sql = format!("SELECT id::text FROM sessions WHERE user_id = '{}'", user.id);
        let session = api.scalar(&sql).await;
        Self { user, group, resource, rule, device, gateway, api_token, session }
    }

    fn path(&self, path: &str) -> String {
        let id = match path.split('/').nth(3) {
            Some("users") => json!(self.user.id),
            Some("groups") => self.group["id"].clone(),
            Some("resources") => self.resource["id"].clone(),
            Some("rules") => self.rule["id"].clone(),
            Some("devices") => self.device["id"].clone(),
            Some("api-tokens") => self.api_token["id"].clone(),
            Some("sessions") => json!(self.session),
            _ => self.gateway["id"].clone(),
        };
        let id = id.to_string();
        path.replace("{id}", id.trim_matches('"')).replace("{user_id}", &self.user.id.to_string())
    }

    fn body(&self, method: &str, path: &str) -> Option<Value> {
        let resource =
            json!({ "name": unique("new"), "cidrs": ["10.9.0.0/16"], "traffic": [{ "protocol": "any" }] });
        let what = json!([{ "kind": "resource", "id": self.resource["id"] }]);
        let concerned: String = self.user.id.to_string();
        Some(match (method, path) {
            ("POST", "/api/v1/bootstrap") => json!({ "token": "t", "username": "u", "password": PASSWORD }),
            ("POST", "/api/v1/sessions") => json!({ "username": self.username(), "password": PASSWORD }),
            ("POST", "/api/v1/passwords") => json!({ "token": "t", "password": PASSWORD }),
            ("POST", "/api/v1/enrolments") => json!({ "token": "t", "name": "n", "public_key": key() }),
            ("POST", "/api/v1/users") => json!({ "username": unique("new"), "password": PASSWORD }),
            ("PATCH", "/api/v1/users/{id}") => json!({ "display_name": concerned }),
            ("POST", "/api/v1/groups") => json!({ "name": unique("new") }),
            (_, "/api/v1/resources") | ("PUT", "/api/v1/resources/{id}") if method != "GET" => resource,
            ("POST", "/api/v1/rules") => {
                json!({ "effect": "deny", "who": [{ "kind": "everyone" }], "what": what })
            }
            ("PATCH", "/api/v1/rules/{id}") => json!({ "note": "new" }),
            ("POST", "/api/v1/devices") => json!({ "name": unique("new"), "public_key": key() }),
            ("POST", "/api/v1/api-tokens") => {
                json!({ "name": unique("new"), "scopes": ["read"], "expires_at": in_an_hour() })
            }
            ("PATCH", _) => json!({ "name": unique("new") }),
            ("POST", "/api/v1/gateways") => json!({ "name": unique("new"), "endpoint": "h:1" }),
            ("PUT", "/api/v1/network") => {
                json!({ "pool_v4": "100.96.0.0/16", "pool_v6": "fd6e:7861::/64", "mtu": 1400 })
            }
            _ => return None,
        })
    }

    fn username(&self) -> &str {
        self.device["username"].as_str().unwrap()
    }
}
