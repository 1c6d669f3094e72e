use serde_json::json;
use uuid::Uuid;

use crate::support::{Api, PASSWORD};

#[tokio::test]
async fn a_user_is_made_shown_changed_and_removed() {
    let api = Api::start().await;
    let admin = api.user("admin", "admin").await;
    let body = json!({ "username": "alice", "password": "alice's password", "display_name": "Alice A." });
    let made = admin.post("/api/v1/users", body).await.ok(201);
    assert_eq!((&made["role"], &made["disabled"]), (&json!("user"), &json!(false)));
    let path = format!("/api/v1/users/{}", made["id"].as_str().unwrap());
    assert_eq!(admin.get(&path).await.ok(200), made);

    let change = json!({ "display_name": "Alice B.", "role": "admin" });
    let changed = admin.patch(&path, change).await.ok(200);
    assert_eq!((&changed["display_name"], &changed["role"]), (&json!("Alice B."), &json!("admin")));
    assert_eq!(admin.get(&path).await.ok(200), changed);

    admin.delete(&path).await.ok(204);
    admin.get(&path).await.problem(404, "not_found");
    admin.delete(&path).await.problem(404, "not_found");
    admin.patch(&path, json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn bad_users_are_refused_with_field_and_code() {
    let api = Api::start().await;
    let admin = api.owner().await;
    admin.post("/api/v1/users", json!({ "username": "alice", "password": PASSWORD })).await.ok(201);
    let cases = [
        (json!({ "username": "", "password": PASSWORD }), "invalid_username", "username"),
        (json!({ "username": "a b", "password": PASSWORD }), "invalid_username", "username"),
        (json!({ "username": "x".repeat(65), "password": PASSWORD }), "invalid_username", "username"),
        (json!({ "username": "bob", "password": "9 letters" }), "password_too_short", "password"),
        (json!({ "username": "bob", "password": "x".repeat(1025) }), "password_too_long", "password"),
        (
            json!({ "username": "bob", "password": PASSWORD, "display_name": "a\nb" }),
            "invalid_name",
            "display_name",
        ),
        (json!({ "password": PASSWORD }), "invalid_body", "username"),
        (json!({ "username": "bob", "password": PASSWORD, "role": "god" }), "invalid_body", "role"),
        (json!({ "username": "bob", "password": PASSWORD, "is_admin": true }), "invalid_body", "is_admin"),
        (json!({ "username": 7, "password": PASSWORD }), "invalid_body", "username"),
    ];
    for (body, code, field) in cases {
        admin.post("/api/v1/users", body).await.invalid(code, field);
    }
    let taken = admin.post("/api/v1/users", json!({ "username": "ALICE", "password": PASSWORD })).await;
    assert_eq!(taken.problem(409, "name_taken")["field"], "username");
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM users").await, 2);
}

#[tokio::test]
async fn a_user_sees_himself_only() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice", "user").await, api.user("bob", "user").await);
    assert_eq!(alice.get(&format!("/api/v1/users/{}", alice.id)).await.ok(200)["username"], "alice");
    let other = alice.get(&format!("/api/v1/users/{}", bob.id)).await;
    let absent = alice.get(&format!("/api/v1/users/{}", Uuid::now_v7())).await;
    let nonsense = alice.get("/api/v1/users/7").await;
    assert_eq!(other.problem(404, "not_found"), absent.problem(404, "not_found"));
    nonsense.problem(404, "not_found");
    alice
        .patch(&format!("/api/v1/users/{}", alice.id), json!({ "role": "owner" }))
        .await
        .problem(403, "admin_required");
}

#[tokio::test]
async fn a_role_never_gives_more_than_it_has() {
    let api = Api::start().await;
    let owner = api.owner().await;
    let admin = api.user("admin", "admin").await;
    let (own, owners) = (format!("/api/v1/users/{}", admin.id), format!("/api/v1/users/{}", owner.id));
    let new_owner = json!({ "username": "o", "password": PASSWORD, "role": "owner" });
    admin.post("/api/v1/users", new_owner.clone()).await.problem(403, "role_too_high");
    admin.patch(&own, json!({ "role": "owner" })).await.problem(403, "role_too_high");
    admin.patch(&owners, json!({ "role": "user" })).await.problem(403, "role_too_high");
    admin.patch(&owners, json!({ "password": "taken over now" })).await.problem(403, "role_too_high");
    admin.patch(&owners, json!({ "disabled": true })).await.problem(403, "role_too_high");
    admin.delete(&owners).await.problem(403, "role_too_high");
    owner.post("/api/v1/users", new_owner).await.ok(201);
    owner.patch(&own, json!({ "role": "owner" })).await.ok(200);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let api = Api::start().await;
    let (first, second) = (api.user("first", "owner").await, api.user("second", "owner").await);
    let (first_path, second_path) =
        (format!("/api/v1/users/{}", first.id), format!("/api/v1/users/{}", second.id));
    first.patch(&second_path, json!({ "disabled": true })).await.ok(200);
    for change in [json!({ "role": "admin" }), json!({ "disabled": true })] {
        first.patch(&first_path, change).await.problem(409, "last_owner");
    }
    first.delete(&first_path).await.problem(409, "last_owner");
    first.get("/api/v1/me").await.ok(200);
    first.patch(&second_path, json!({ "disabled": false })).await.ok(200);
    first.patch(&first_path, json!({ "role": "user" })).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_that_remove_each_other_leave_one() {
    let api = Api::start().await;
    for round in 0..10 {
        let a = api.user(&format!("a{round}"), "owner").await;
        let b = api.user(&format!("b{round}"), "owner").await;
        let (path_a, path_b) = (format!("/api/v1/users/{}", a.id), format!("/api/v1/users/{}", b.id));
        tokio::join!(a.delete(&path_b), b.patch(&path_a, json!({ "role": "user" })));
        assert_eq!(api.scalar::<i64>("SELECT count(*) FROM users WHERE role = 'owner'").await, 1);
        api.execute("DELETE FROM users").await;
    }
}

#[tokio::test]
async fn a_new_password_and_disabling_end_all_sessions() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let alice = api.user("alice", "user").await;
    let path = format!("/api/v1/users/{}", alice.id);
    admin.patch(&path, json!({ "password": "another password" })).await.ok(200);
    alice.get("/api/v1/me").await.problem(401, "unauthenticated");
    let sign_in = |password: &str| json!({ "username": "alice", "password": password });
    api.anonymous().post("/api/v1/sessions", sign_in(PASSWORD)).await.problem(401, "bad_credentials");
    let session = api.anonymous().post("/api/v1/sessions", sign_in("another password")).await.ok(201);

    let mut alice = alice;
    alice.token = session["token"].as_str().map(str::to_owned);
    admin.patch(&path, json!({ "disabled": true })).await.ok(200);
    alice.get("/api/v1/me").await.problem(401, "unauthenticated");
    admin.patch(&path, json!({ "disabled": false })).await.ok(200);
    alice.get("/api/v1/me").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn users_come_in_pages() {
    let api = Api::start().await;
    let admin = api.owner().await;
    for number in 0..5 {
        api.user(&format!("user{number}"), "user").await;
    }
    let (mut seen, mut path) = (Vec::new(), "/api/v1/users?limit=2".to_owned());
    loop {
        let page = admin.get(&path).await.ok(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|user| user["username"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/users?limit=2&cursor={cursor}");
    }
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[1..], ["user0", "user1", "user2", "user3", "user4"]);
    admin.get("/api/v1/users?limit=0").await.invalid("invalid_limit", "limit");
    admin.get("/api/v1/users?limit=1001").await.invalid("invalid_limit", "limit");
    admin.get("/api/v1/users?cursor=x").await.invalid("invalid_cursor", "cursor");
    admin.get("/api/v1/users?offset=1").await.invalid("invalid_query", "query");
}

#[tokio::test]
async fn a_user_whom_a_rule_names_is_not_removed_and_his_addresses_rest() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let alice = api.user("alice", "user").await;
    let device = alice.enrol().await;
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    let rule = admin.make_rule(json!({ "kind": "device", "id": device["id"] }), &resource).await;
    let path = format!("/api/v1/users/{}", alice.id);
    let problem = admin.delete(&path).await.problem(409, "in_use");
    assert!(problem["detail"].as_str().unwrap().contains(&format!("rule {}", rule["id"])));
    admin.delete(&format!("/api/v1/rules/{}", rule["id"])).await.ok(204);
    admin.delete(&path).await.ok(204);
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM devices").await, 0);
    assert_ne!(admin.enrol().await["v4"], device["v4"]);
}
