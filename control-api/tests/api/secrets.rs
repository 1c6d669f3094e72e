use nexa_control::app::App;
use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};

use crate::support::{Api, Log, key};

#[tokio::test]
async fn no_password_and_no_token_is_in_the_database_or_in_the_log() {
    let log = Log::start();
    let api = Api::start().await;
    let bootstrap = App::make_bootstrap_token(&api.database).await.unwrap();
    let password = "canary-of-a-password";
    let root = json!({ "token": bootstrap, "username": "root", "password": password });
    api.anonymous().post("/api/v1/bootstrap", root).await.ok(201);
    let sign_in = json!({ "username": "root", "password": password });
    let session =
        api.anonymous().post("/api/v1/sessions", sign_in).await.ok(201)["token"].as_str().unwrap().to_owned();
    let mut admin = api.anonymous();
    admin.token = Some(session.clone());
    let changed = "canary-of-another-one";
    let user =
        admin.post("/api/v1/users", json!({ "username": "alice", "password": password })).await.ok(201);
    let path = format!("/api/v1/users/{}", user["id"].as_str().unwrap());
    admin.patch(&path, json!({ "password": changed })).await.ok(200);
    let link = admin.call("POST", &format!("{path}/password-link"), None).await.ok(201);
    let enrolment = admin.call("POST", &format!("{path}/enrolment-tokens"), None).await.ok(201);
    let api_token = admin.make_api_token(&["read"]).await;
    let gateway = admin.make_gateway().await;
    let id = gateway["id"].as_str().unwrap();
    let renewed = admin.call("POST", &format!("/api/v1/gateways/{id}/token"), None).await.ok(200);
    let mut stream = api.stream(renewed["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    stream.snapshot().await;

    let mut db = api.sql().await;
    let tables = "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut db).await.unwrap();
    let mut dump = String::new();
    for table in &tables {
        let sql = AssertSqlSafe(format!("SELECT to_jsonb(t)::text FROM {table} t"));
        for row in sqlx::query(sql).fetch_all(&mut db).await.unwrap() {
            dump += &row.get::<String, _>(0);
        }
    }
    assert!(
        dump.contains("$argon2id$v=19$m=19456,t=2,p=1$") && dump.contains("gateway.renew_token"),
        "{tables:?}"
    );
    let lines: String = log.lines().iter().map(ToString::to_string).collect();
    assert!(lines.contains("gateway connected") && lines.contains("gateway.renew_token"), "{lines}");
    let shown =
        [&link, &enrolment, &api_token, &gateway, &renewed].map(|made| made["token"].as_str().unwrap());
    // What stands before the random part of a token is no secret.
    let tokens = [&bootstrap, &session].into_iter().map(|token| &**token).chain(shown);
    for secret in tokens.map(|token| token.trim_start_matches("nxa_")).chain([password, changed]) {
        let bytes: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        for text in [&dump, &lines] {
            assert!(!text.contains(secret) && !text.contains(&bytes), "{secret}");
        }
    }
}
