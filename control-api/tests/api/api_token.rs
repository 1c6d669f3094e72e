use serde_json::{Value, json};

use crate::support::{Api, Client, in_an_hour, key, unique};

fn with(client: &Client, made: &Value) -> Client {
    let mut program = client.clone();
    program.token = Some(made["token"].as_str().unwrap().to_owned());
    program
}

fn path(made: &Value) -> String {
    format!("/api/v1/api-tokens/{}", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_token_acts_for_its_user_until_it_is_ended_and_is_shown_once() {
    let api = Api::start().await;
    let admin = api.user("alice", "admin").await;
    let made = admin.make_api_token(&["policy:write", "read", "read"]).await;
    assert!(made["token"].as_str().unwrap().starts_with("nxa_"));
    assert_eq!(made["scopes"], json!(["read", "policy:write"]));
    let program = with(&admin, &made);
    assert_eq!(program.get("/api/v1/me").await.ok(200)["username"], "alice");
    program.make_resource(&["10.0.0.0/8"]).await;
    let newest = admin.get("/api/v1/audit?limit=1").await.ok(200)["items"][0].clone();
    assert_eq!((&newest["actor"]["id"], &newest["actor"]["token"]), (&json!(admin.id), &made["id"]));

    let listed = admin.get("/api/v1/api-tokens").await.ok(200)["items"].clone();
    assert!(listed[0]["last_used_at"].is_string());
    assert!(listed[0].get("token").is_none() && listed.as_array().unwrap().len() == 1, "{listed}");
    admin.delete(&path(&made)).await.ok(204);
    program.get("/api/v1/me").await.problem(401, "unauthenticated");
    admin.delete(&path(&made)).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_user() {
    let api = Api::start().await;
    let (owner, alice) = (api.owner().await, api.user("alice", "admin").await);
    let program = with(&alice, &alice.make_api_token(&["read"]).await);
    program.get("/api/v1/users").await.ok(200);
    let user = format!("/api/v1/users/{}", alice.id);
    // With the role goes what it allowed.
    owner.patch(&user, json!({ "role": "user" })).await.ok(200);
    program.get("/api/v1/users").await.problem(403, "auditor_required");
    owner.patch(&user, json!({ "disabled": true })).await.ok(200);
    program.get("/api/v1/me").await.problem(401, "unauthenticated");
    owner.patch(&user, json!({ "disabled": false })).await.ok(200);
    program.get("/api/v1/me").await.ok(200);
    api.execute("UPDATE api_tokens SET expires_at = now()").await;
    program.get("/api/v1/me").await.problem(401, "unauthenticated");
    owner.delete(&user).await.ok(204);
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM api_tokens").await, 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_said_with_its_field() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let ask = async |name: &str, scopes: Value, expires_at: &str| {
        let body = json!({ "name": name, "scopes": scopes, "expires_at": expires_at });
        alice.post("/api/v1/api-tokens", body).await
    };
    let soon = in_an_hour();
    ask("", json!(["read"]), &soon).await.invalid("invalid_name", "name");
    ask("a", json!([]), &soon).await.invalid("empty_list", "scopes");
    ask("a", json!(["write"]), &soon).await.invalid("invalid_body", "scopes[0]");
    ask("a", json!(["read"]), "2020-01-01T00:00:00Z").await.invalid("invalid_time", "expires_at");
    ask("a", json!(["read"]), "9999-01-01T00:00:00Z").await.invalid("invalid_time", "expires_at");
    ask("a", json!(["read"]), "tomorrow").await.invalid("invalid_body", "expires_at");
    ask("a", json!(["read"]), &soon).await.ok(201);
    ask("A", json!(["read"]), &soon).await.problem(409, "name_taken");
    // Others may use the same name.
    let body = json!({ "name": "a", "scopes": ["read"], "expires_at": soon });
    api.user("bob", "user").await.post("/api/v1/api-tokens", body).await.ok(201);
    api.execute(
        "INSERT INTO api_tokens (id, token_hash, user_id, name, scopes, expires_at)
         SELECT gen_random_uuid(), sha256(n::text::bytea), (SELECT id FROM users WHERE username = 'alice'), n,
                '{read}', now() + interval '1 h' FROM generate_series(1, 99) n",
    )
    .await;
    ask("b", json!(["read"]), &soon).await.problem(409, "too_many_tokens");
}

#[tokio::test]
async fn a_plain_users_program_enrols_his_devices_and_sees_nothing_else() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let others = api.user("bob", "user").await.enrol().await;
    let program = with(&alice, &alice.make_api_token(&["devices:write"]).await);
    let device =
        program.post("/api/v1/devices", json!({ "name": unique("d"), "public_key": key() })).await.ok(201);
    assert_eq!(device["username"], "alice");
    program.get("/api/v1/devices").await.problem(403, "scope_missing");
    let others = format!("/api/v1/devices/{}", others["id"].as_str().unwrap());
    program.delete(&others).await.problem(404, "not_found");
}

#[tokio::test]
async fn sessions_are_listed_with_the_current_one_and_revoked_one_by_one() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let sign_in = json!({ "username": "alice", "password": crate::support::PASSWORD });
    let mut other = alice.clone();
    let session = api.anonymous().post("/api/v1/sessions", sign_in).await.ok(201);
    other.token = Some(session["token"].as_str().unwrap().to_owned());
    let listed = other.get("/api/v1/sessions").await.ok(200)["items"].clone();
    let current: Vec<_> =
        listed.as_array().unwrap().iter().map(|session| session["current"] == true).collect();
    assert_eq!(current, [false, true], "{listed}");
    let auditor = api.user("auditor", "auditor").await;
    assert_eq!(auditor.get("/api/v1/sessions").await.ok(200)["items"].as_array().unwrap().len(), 3);
    let second = format!("/api/v1/sessions/{}", listed[1]["id"].as_str().unwrap());
    alice.delete(&second).await.ok(204);
    other.get("/api/v1/me").await.problem(401, "unauthenticated");
    alice.get("/api/v1/me").await.ok(200);
    alice.delete(&second).await.problem(404, "not_found");
}

#[tokio::test]
async fn auditors_see_what_administrators_see_and_operators_look_after_devices() {
    let api = Api::start().await;
    let owner = api.owner().await;
    let device = api.user("alice", "user").await.enrol().await;
    let path = format!("/api/v1/devices/{}", device["id"].as_str().unwrap());
    let (auditor, operator) = (api.user("auditor", "auditor").await, api.user("operator", "operator").await);
    assert_eq!(auditor.get(&path).await.ok(200)["username"], "alice");
    auditor.patch(&path, json!({ "disabled": true })).await.problem(403, "operator_required");
    assert_eq!(operator.patch(&path, json!({ "disabled": true })).await.ok(200)["disabled"], true);
    // His own devices are everybody's own matter, but for their end.
    let own = auditor.enrol().await;
    let own = format!("/api/v1/devices/{}", own["id"].as_str().unwrap());
    auditor.patch(&own, json!({ "expires_at": null })).await.problem(403, "operator_required");
    auditor.delete(&own).await.ok(204);
    for role in ["auditor", "operator"] {
        let body = json!({ "username": unique(role), "password": crate::support::PASSWORD, "role": role });
        assert_eq!(owner.post("/api/v1/users", body).await.ok(201)["role"], role);
    }
}
