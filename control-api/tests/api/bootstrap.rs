use nexa_control::app::App;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::Api;

fn request(token: &str, username: &str) -> Value {
    json!({ "token": token, "username": username, "password": "a good password" })
}

#[tokio::test]
async fn the_first_owner_is_made_once_and_can_sign_in() {
    let api = Api::start().await;
    let token = App::make_bootstrap_token(&api.database).await.unwrap();
    let anyone = api.anonymous();
    let made = anyone.post("/api/v1/bootstrap", request(&token, "root")).await.ok(201);
    assert_eq!((&made["user"]["role"], &made["user"]["username"]), (&json!("owner"), &json!("root")));

    anyone.post("/api/v1/bootstrap", request(&token, "again")).await.problem(409, "bootstrap_closed");
    assert!(
        App::make_bootstrap_token(&api.database).await.unwrap_err().to_string().contains("owner already")
    );

    let credentials = json!({ "username": "root", "password": "a good password" });
    let session = anyone.post("/api/v1/sessions", credentials).await.ok(201);
    assert_eq!(session["user"]["id"], made["user"]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_250_parallel_uses_of_a_token_exactly_one_wins() {
    let api = Api::start().await;
    let token = App::make_bootstrap_token(&api.database).await.unwrap();
    let mut uses = JoinSet::new();
    for number in 0..250 {
        let (anyone, body) = (api.anonymous(), request(&token, &format!("owner{number}")));
        uses.spawn(async move { anyone.post("/api/v1/bootstrap", body).await });
    }
    let mut winners = 0;
    for reply in uses.join_all().await {
        match reply.status.as_u16() {
            201 => winners += 1,
            403 => drop(reply.problem(403, "bootstrap_token_invalid")),
            _ => drop(reply.problem(409, "bootstrap_closed")),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM users").await, 1);
}

#[tokio::test]
async fn unknown_late_and_replaced_tokens_are_refused() {
    let api = Api::start().await;
    let anyone = api.anonymous();
    anyone.post("/api/v1/bootstrap", request("guess", "root")).await.problem(403, "bootstrap_token_invalid");

    let first = App::make_bootstrap_token(&api.database).await.unwrap();
    let second = App::make_bootstrap_token(&api.database).await.unwrap();
    anyone.post("/api/v1/bootstrap", request(&first, "root")).await.problem(403, "bootstrap_token_invalid");

    let left: f64 =
        api.scalar("SELECT extract(epoch FROM expires_at - now())::float8 FROM bootstrap_tokens").await;
    assert!((3500.0..=3600.0).contains(&left), "valid for an hour, not {left} s");
    api.execute("UPDATE bootstrap_tokens SET expires_at = now()").await;
    anyone.post("/api/v1/bootstrap", request(&second, "root")).await.problem(403, "bootstrap_token_invalid");
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM users").await, 0);
}

#[tokio::test]
async fn a_refused_request_does_not_use_the_token_up() {
    let api = Api::start().await;
    let token = App::make_bootstrap_token(&api.database).await.unwrap();
    let anyone = api.anonymous();
    let short = json!({ "token": token, "username": "root", "password": "too short" });
    anyone.post("/api/v1/bootstrap", short).await.invalid("password_too_short", "password");
    anyone.post("/api/v1/bootstrap", request(&token, "ro ot")).await.invalid("invalid_username", "username");
    anyone.post("/api/v1/bootstrap", request(&token, "root")).await.ok(201);
}
