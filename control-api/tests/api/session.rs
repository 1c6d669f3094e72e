use std::time::{Duration, Instant};

use nexa_control::app::App;
use serde_json::{Value, json};

use crate::support::{Api, PASSWORD};

fn credentials(username: &str, password: &str) -> Value {
    json!({ "username": username, "password": password })
}

#[tokio::test]
async fn a_session_begins_with_the_password_and_ends_when_told() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let session = api.anonymous().post("/api/v1/sessions", credentials("Alice", PASSWORD)).await.ok(201);
    assert_eq!(session["user"]["id"], json!(alice.id));
    assert_eq!(
        (&session["user"]["display_name"], &session["user"]["role"]),
        (&json!("alice"), &json!("user"))
    );
    assert!(session["expires_at"].is_string());

    let mut client = api.anonymous();
    client.token = Some(session["token"].as_str().unwrap().to_owned());
    assert_eq!(client.get("/api/v1/me").await.ok(200), session["user"]);
    client.delete("/api/v1/sessions/current").await.ok(204);
    let problem = client.get("/api/v1/me").await;
    problem.problem(401, "unauthenticated");
    assert_eq!(problem.headers["www-authenticate"], "Bearer");
    alice.get("/api/v1/me").await.ok(200);
}

#[tokio::test]
async fn a_wrong_password_an_unknown_and_a_disabled_user_are_told_the_same() {
    let api = Api::start().await;
    api.user("alice", "user").await;
    api.user("gone", "user").await;
    api.execute("UPDATE users SET disabled = true WHERE username = 'gone'").await;
    let mut answers = Vec::new();
    for (username, password) in
        [("alice", "wrong password"), ("nobody", PASSWORD), ("gone", PASSWORD), ("", ""), ("a\0b", "\0")]
    {
        let reply = api.anonymous().post("/api/v1/sessions", credentials(username, password)).await;
        answers.push(reply.problem(401, "bad_credentials"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    let api = Api::start().await;
    let token = App::make_bootstrap_token(&api.database).await.unwrap();
    let root = json!({ "token": token, "username": "root", "password": "a good password" });
    api.anonymous().post("/api/v1/bootstrap", root).await.ok(201);
    // The best of many tries is what the work itself takes; on a machine that others use, it takes more of them to see it.
    let mut best = [Duration::MAX; 2];
    for attempt in 0..60 {
        let ratio = best[1].as_secs_f64() / best[0].as_secs_f64();
        if attempt >= 6 && (0.5..2.0).contains(&ratio) {
            return;
        }
        for (best, username) in best.iter_mut().zip(["root", "nobody"]) {
            let begun = Instant::now();
            api.anonymous()
                .post("/api/v1/sessions", credentials(username, "wrong"))
                .await
                .problem(401, "bad_credentials");
            *best = (*best).min(begun.elapsed());
        }
    }
    panic!("one takes longer than the other: {best:?}");
}

#[tokio::test]
async fn a_session_past_its_time_is_none() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    api.execute("UPDATE sessions SET expires_at = now()").await;
    alice.get("/api/v1/me").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_header_that_is_no_bearer_token_is_refused() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let token = alice.token.clone().unwrap();
    let wrong = [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        &token,
        &format!("Bearer {token}x"),
        &format!("Token {token}"),
    ];
    for value in wrong {
        let request = axum::http::Request::get("/api/v1/me").header("authorization", value);
        api.anonymous()
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await
            .problem(401, "unauthenticated");
    }
}
