use serde_json::{Value, json};

use crate::support::{Api, Client, Reply, key};

async fn token(caller: &Client, user: &Client) -> Reply {
    caller.call("POST", &format!("/api/v1/users/{}/enrolment-tokens", user.id), None).await
}

async fn enrol(api: &Api, token: &Value, name: &str, public_key: &str) -> Reply {
    let body = json!({ "token": token, "name": name, "public_key": public_key });
    api.anonymous().post("/api/v1/enrolments", body).await
}

#[tokio::test]
async fn a_token_enrols_one_device_for_its_user_and_gives_what_it_needs() {
    let api = Api::start().await;
    let (owner, alice) = (api.owner().await, api.user("alice", "user").await);
    let gateway = owner.make_gateway().await;
    let mut stream = api.stream(gateway["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    stream.snapshot().await;
    let token = token(&owner, &alice).await.ok(201)["token"].clone();
    // What is refused for the name or the key leaves the token as it is.
    enrol(&api, &token, "", &key()).await.invalid("invalid_name", "name");
    enrol(&api, &token, "laptop", "no key").await.invalid("invalid_public_key", "public_key");
    let public_key = key();
    let taken = alice.enrol().await;
    let again = enrol(&api, &token, "laptop", taken["public_key"].as_str().unwrap()).await;
    assert_eq!(again.problem(409, "public_key_taken")["field"], "public_key");

    let made = enrol(&api, &token, "laptop", &public_key).await.ok(201);
    let path = format!("/api/v1/devices/{}", made["device"]["id"].as_str().unwrap());
    assert_eq!(alice.get(&path).await.ok(200), made["device"]);
    assert_eq!(alice.get(&format!("{path}/profile")).await.ok(200), made["profile"]);
    assert_eq!(made["profile"]["gateways"].as_array().unwrap().len(), 1);
    while stream.snapshot().await.peers.len() < 2 {}
    enrol(&api, &token, "phone", &key()).await.problem(403, "enrolment_token_invalid");
    let newest = owner.get("/api/v1/audit?limit=1").await.ok(200)["items"][0].clone();
    assert_eq!((&newest["action"], &newest["actor"]["name"]), (&json!("device.enrol"), &json!("alice")));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_who_use_a_token_at_once_one_wins() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let token = token(&alice, &alice).await.ok(201)["token"].clone();
    let tries = (0..1000).map(|number| {
        let (anyone, token) = (api.anonymous(), token.clone());
        tokio::spawn(async move {
            let body = json!({ "token": token, "name": format!("device {number}"), "public_key": key() });
            loop {
                let reply = anyone.post("/api/v1/enrolments", body.clone()).await;
                // A busy server asks to come again.
                if reply.status != 503 {
                    return reply.status.as_u16();
                }
            }
        })
    });
    let mut statuses = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
    assert!(statuses.iter().all(|status| matches!(status, 201 | 403)), "{statuses:?}");
    assert_eq!(alice.get("/api/v1/devices").await.ok(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_ends_with_its_time_its_user_and_is_not_to_be_had_for_who_may_more() {
    let api = Api::start().await;
    let (owner, alice) = (api.owner().await, api.user("alice", "user").await);
    let late = token(&alice, &alice).await.ok(201)["token"].clone();
    api.execute("UPDATE one_time_tokens SET expires_at = now()").await;
    enrol(&api, &late, "laptop", &key()).await.problem(403, "enrolment_token_invalid");
    let disabled = token(&alice, &alice).await.ok(201)["token"].clone();
    let path = format!("/api/v1/users/{}", alice.id);
    owner.patch(&path, json!({ "disabled": true })).await.ok(200);
    enrol(&api, &disabled, "laptop", &key()).await.problem(403, "enrolment_token_invalid");
    token(&owner, &alice).await.problem(409, "user_disabled");
    // A device of an owner reaches what an owner does.
    token(&api.user("admin", "admin").await, &owner).await.problem(403, "role_too_high");
    enrol(&api, &json!("nonsense"), "laptop", &key()).await.problem(403, "enrolment_token_invalid");
    // What was given for something else is none.
    let made = owner.post("/api/v1/users", json!({ "username": "bob" })).await.ok(201);
    let link = format!("/api/v1/users/{}/password-link", made["id"].as_str().unwrap());
    let link = owner.call("POST", &link, None).await.ok(201)["token"].clone();
    enrol(&api, &link, "laptop", &key()).await.problem(403, "enrolment_token_invalid");
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM devices").await, 0);
}

#[tokio::test]
async fn a_user_has_so_many_tokens_at_a_time() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    api.execute(
        "INSERT INTO one_time_tokens SELECT sha256(n::text::bytea), 'enrol_device', (SELECT id FROM users), now() + interval '1 h'
         FROM generate_series(1, 100) n",
    )
    .await;
    token(&alice, &alice).await.problem(409, "too_many_tokens");
}
