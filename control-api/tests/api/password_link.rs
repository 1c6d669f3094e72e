use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use nexa_control::app::{App, reset_owner};
use serde_json::{Value, json};

use crate::support::{Api, Client, PASSWORD, Reply};

async fn sign_in(api: &Api, username: &str, password: &str) -> Reply {
    api.anonymous().post("/api/v1/sessions", json!({ "username": username, "password": password })).await
}

async fn set(api: &Api, token: &Value, password: &str) -> Reply {
    api.anonymous().post("/api/v1/passwords", json!({ "token": token, "password": password })).await
}

async fn link(admin: &Client, user: &Value) -> Reply {
    let path = format!("/api/v1/users/{}/password-link", user["id"].as_str().unwrap());
    admin.call("POST", &path, None).await
}

#[tokio::test]
async fn an_invited_user_sets_a_password_by_a_link_and_signs_in() {
    let api = Api::start().await;
    let admin = api.user("admin", "admin").await;
    let invited = admin.post("/api/v1/users", json!({ "username": "alice" })).await.ok(201);
    assert_eq!(invited["invited"], true);
    sign_in(&api, "alice", "").await.problem(401, "bad_credentials");
    let link = link(&admin, &invited).await.ok(201);
    set(&api, &link["token"], "short").await.invalid("password_too_short", "password");
    set(&api, &link["token"], "alice's password").await.ok(204);
    let session = sign_in(&api, "alice", "alice's password").await.ok(201);
    assert_eq!(session["user"]["invited"], false);
    let newest = admin.get("/api/v1/audit?limit=2").await.ok(200)["items"][1].clone();
    assert_eq!((&newest["action"], &newest["actor"]["name"]), (&json!("user.set_password"), &json!("alice")));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_use_a_link_at_once_one_wins() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let user = admin.post("/api/v1/users", json!({ "username": "alice" })).await.ok(201);
    let link = link(&admin, &user).await.ok(201);
    let tries = (0..100).map(|number| {
        let (anyone, token) = (api.anonymous(), link["token"].clone());
        tokio::spawn(async move {
            let body = json!({ "token": token, "password": format!("password number {number}") });
            anyone.post("/api/v1/passwords", body).await.status.as_u16()
        })
    });
    let mut statuses = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 204 | 403)), "{statuses:?}");
}

#[tokio::test]
async fn a_link_ends_sessions_and_is_replaced_overtaken_and_late() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let alice = api.user("alice", "user").await;
    let user = json!({ "id": alice.id });
    let first = link(&admin, &user).await.ok(201);
    let second = link(&admin, &user).await.ok(201);
    set(&api, &first["token"], "a new password").await.problem(403, "password_link_invalid");
    alice.get("/api/v1/me").await.ok(200);
    set(&api, &second["token"], "a new password").await.ok(204);
    alice.get("/api/v1/me").await.problem(401, "unauthenticated");
    sign_in(&api, "alice", PASSWORD).await.problem(401, "bad_credentials");
    set(&api, &second["token"], "another password").await.problem(403, "password_link_invalid");

    let path = format!("/api/v1/users/{}", alice.id);
    let overtaken = link(&admin, &user).await.ok(201);
    admin.patch(&path, json!({ "password": "the admin's choice" })).await.ok(200);
    set(&api, &overtaken["token"], "a new password").await.problem(403, "password_link_invalid");
    let late = link(&admin, &user).await.ok(201);
    api.execute("UPDATE one_time_tokens SET expires_at = now()").await;
    set(&api, &late["token"], "a new password").await.problem(403, "password_link_invalid");
    let enrolment = format!("/api/v1/users/{}/enrolment-tokens", alice.id);
    let enrolment = admin.call("POST", &enrolment, None).await.ok(201);
    set(&api, &enrolment["token"], "a new password").await.problem(403, "password_link_invalid");
    set(&api, &json!("nonsense"), "a new password").await.problem(403, "password_link_invalid");

    let disabled = link(&admin, &user).await.ok(201);
    admin.patch(&path, json!({ "disabled": true })).await.ok(200);
    set(&api, &disabled["token"], "a new password").await.problem(403, "password_link_invalid");
    link(&admin, &user).await.problem(409, "user_disabled");
    // Whoever may not touch an owner gets no way in as one.
    let owner = json!({ "id": admin.id });
    link(&api.user("admin", "admin").await, &owner).await.problem(403, "role_too_high");
}

#[tokio::test]
async fn an_owner_who_is_locked_out_gets_in_by_the_command_line() {
    let api = Api::start().await;
    assert!(
        reset_owner(&api.database, None).await.unwrap_err().to_string().contains("nexa-control bootstrap")
    );
    let bootstrap = App::make_bootstrap_token(&api.database).await.unwrap();
    let root = json!({ "token": bootstrap, "username": "root", "password": "a good password" });
    api.anonymous().post("/api/v1/bootstrap", root).await.ok(201);
    api.execute("UPDATE users SET disabled = true").await;
    let token = reset_owner(&api.database, None).await.unwrap();
    set(&api, &json!(token), "a better password").await.ok(204);
    sign_in(&api, "root", "a better password").await.ok(201);

    api.user("second", "owner").await;
    let told = reset_owner(&api.database, None).await.unwrap_err().to_string();
    assert!(told.contains("--username: root, second"), "{told}");
    let told = reset_owner(&api.database, Some("nobody")).await.unwrap_err().to_string();
    assert!(told.contains("there are: root, second"), "{told}");
    reset_owner(&api.database, Some("SECOND")).await.unwrap();
}

#[tokio::test]
async fn an_invited_owner_is_not_one_who_can_sign_in() {
    let api = Api::start().await;
    let owner = api.owner().await;
    owner.post("/api/v1/users", json!({ "username": "next", "role": "owner" })).await.ok(201);
    owner.delete(&format!("/api/v1/users/{}", owner.id)).await.problem(409, "last_owner");
}

#[tokio::test]
async fn who_tries_too_often_is_told_when_to_come_again_and_others_are_not_held_up() {
    let api = Api::start().await;
    api.user("alice", "user").await;
    let from = async |address: &str, username: &str, password: &str| {
        let address: SocketAddr = format!("{address}:1").parse().unwrap();
        let body = json!({ "username": username, "password": password }).to_string();
        let request = axum::http::Request::post("/api/v1/sessions")
            .header("content-type", "application/json")
            .extension(ConnectInfo(address))
            .body(body.into());
        api.anonymous().send(request.unwrap()).await
    };
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let reply = from("192.0.2.1", "alice", "a wrong password").await;
        statuses.push(reply.status.as_u16());
        if reply.status == 429 {
            reply.problem(429, "too_many_attempts");
            let seconds: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=4).contains(&seconds), "{seconds}");
        }
    }
    // The right password is not even looked at, and an account that there is not is told the same.
    assert!(statuses[..20].iter().all(|status| *status == 401) && statuses.contains(&429), "{statuses:?}");
    from("192.0.2.2", "alice", PASSWORD).await.ok(201);
    let mut unknown = Vec::new();
    for _ in 0..30 {
        unknown.push(from("192.0.2.3", "nobody", PASSWORD).await.status.as_u16());
    }
    assert!(unknown[..20].iter().all(|status| *status == 401) && unknown.contains(&429), "{unknown:?}");
}
