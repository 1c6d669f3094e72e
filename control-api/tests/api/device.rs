use std::collections::HashSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{Api, Client, key, unique};

async fn pools(admin: &Client, v4: &str, v6: &str) {
    admin.put("/api/v1/network", json!({ "pool_v4": v4, "pool_v6": v6, "mtu": 1420 })).await.ok(200);
}

fn path(device: &Value) -> String {
    format!("/api/v1/devices/{}", device["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_user_enrols_renames_and_removes_his_device() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let public_key = key();
    let made =
        alice.post("/api/v1/devices", json!({ "name": "laptop", "public_key": public_key })).await.ok(201);
    assert_eq!((&made["v4"], &made["v6"]), (&json!("100.96.0.2"), &json!("fd6e:7861::2")));
    assert_eq!((&made["public_key"], &made["status"]), (&json!(public_key), &json!("active")));
    assert_eq!((&made["user_id"], &made["username"]), (&json!(alice.id), &json!("alice")));
    assert_eq!(alice.get(&path(&made)).await.ok(200), made);
    assert_eq!(alice.get("/api/v1/devices").await.ok(200)["items"], json!([made]));
    assert_eq!(alice.patch(&path(&made), json!({ "name": "notebook" })).await.ok(200)["name"], "notebook");
    alice.delete(&path(&made)).await.ok(204);
    alice.get(&path(&made)).await.problem(404, "not_found");
    alice.delete(&path(&made)).await.problem(404, "not_found");
}

#[tokio::test]
async fn bad_enrolments_are_refused_with_field_and_code() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let made = alice.post("/api/v1/devices", json!({ "name": "laptop", "public_key": key() })).await.ok(201);
    let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for bad in [
        "",
        "short",
        zero,
        &key()[..43],
        &format!("{}=", key()),
        "not base64 not base64 not base64 not bas4=",
    ] {
        let body = json!({ "name": "phone", "public_key": bad });
        alice.post("/api/v1/devices", body).await.invalid("invalid_public_key", "public_key");
    }
    for bad in ["", "phone\nPostUp = reboot", "phone\u{2028}", &"x".repeat(64)] {
        alice
            .post("/api/v1/devices", json!({ "name": bad, "public_key": key() }))
            .await
            .invalid("invalid_name", "name");
    }
    let body = json!({ "name": "phone", "public_key": key(), "v4": "100.96.0.1" });
    alice.post("/api/v1/devices", body).await.invalid("invalid_body", "v4");
    let taken = alice.post("/api/v1/devices", json!({ "name": "Laptop", "public_key": key() })).await;
    assert_eq!(taken.problem(409, "name_taken")["field"], "name");
    let bob = api.user("bob", "user").await;
    let taken =
        bob.post("/api/v1/devices", json!({ "name": "laptop", "public_key": made["public_key"] })).await;
    assert_eq!(taken.problem(409, "public_key_taken")["field"], "public_key");
    bob.post("/api/v1/devices", json!({ "name": "laptop", "public_key": key() })).await.ok(201);
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM devices").await, 2);
}

#[tokio::test]
async fn devices_of_others_look_like_absent_ones() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice", "user").await, api.user("bob", "user").await);
    let device = alice.enrol().await;
    let absent = format!("/api/v1/devices/{}", Uuid::now_v7());
    for suffix in ["", "/profile", "/wg-quick"] {
        let others = bob.get(&format!("{}{suffix}", path(&device))).await.problem(404, "not_found");
        assert_eq!(others, bob.get(&format!("{absent}{suffix}")).await.problem(404, "not_found"));
    }
    bob.patch(&path(&device), json!({ "name": "mine" })).await.problem(404, "not_found");
    bob.patch(&path(&device), json!({ "disabled": true })).await.problem(404, "not_found");
    bob.delete(&path(&device)).await.problem(404, "not_found");
    assert_eq!(bob.get("/api/v1/devices").await.ok(200)["items"], json!([]));
    assert_eq!(api.owner().await.get("/api/v1/devices").await.ok(200)["items"], json!([device]));
}

#[tokio::test]
async fn only_administrators_disable_devices_and_set_their_expiry() {
    let api = Api::start().await;
    let (alice, admin) = (api.user("alice", "user").await, api.user("admin", "admin").await);
    let device = alice.enrol().await;
    for change in [
        json!({ "disabled": false }),
        json!({ "expires_at": null }),
        json!({ "name": "x", "disabled": true }),
    ] {
        alice.patch(&path(&device), change).await.problem(403, "operator_required");
    }
    assert_eq!(alice.get(&path(&device)).await.ok(200), device);
    assert_eq!(admin.patch(&path(&device), json!({ "disabled": true })).await.ok(200)["status"], "disabled");
    alice.get(&format!("{}/profile", path(&device))).await.problem(409, "device_not_active");
    assert_eq!(admin.patch(&path(&device), json!({ "disabled": false })).await.ok(200)["status"], "active");
    for time in ["+262000-01-01T00:00:00Z", "-4000-01-01T00:00:00Z", "1969-12-31T23:59:59Z"] {
        admin
            .patch(&path(&device), json!({ "expires_at": time }))
            .await
            .invalid("invalid_time", "expires_at");
    }
    admin.patch(&path(&device), json!({ "expires_at": "soon" })).await.invalid("invalid_body", "expires_at");
    let past = json!({ "expires_at": "2026-01-01T00:00:00Z" });
    assert_eq!(admin.patch(&path(&device), past).await.ok(200)["status"], "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_parallel_enrolments_get_distinct_addresses() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    let mut enrolments = JoinSet::new();
    for _ in 0..200 {
        let alice = alice.clone();
        enrolments.spawn(async move { enrol_in_the_end(&alice).await });
    }
    let devices = enrolments.join_all().await;
    for family in ["v4", "v6"] {
        let addresses: HashSet<&str> =
            devices.iter().map(|device| device[family].as_str().unwrap()).collect();
        assert_eq!(addresses.len(), 200);
    }
    assert_eq!(
        api.scalar::<String>("SELECT host(max(v4)) FROM devices").await,
        "100.96.0.201",
        "without holes"
    );
}

/// Enrols, again and again while the server says that it is too busy, as a client does.
async fn enrol_in_the_end(client: &Client) -> Value {
    loop {
        let body = json!({ "name": unique("device"), "public_key": key() });
        let reply = client.post("/api/v1/devices", body).await;
        if reply.status != 503 {
            return reply.ok(201);
        }
        assert!(reply.headers.contains_key("retry-after"), "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_used_to_its_last_address_and_no_further() {
    let api = Api::start().await;
    let admin = api.owner().await;
    pools(&admin, "10.7.0.8/29", "fd07::/64").await;
    let mut enrolments = JoinSet::new();
    for _ in 0..20 {
        let admin = admin.clone();
        let body = json!({ "name": unique("device"), "public_key": key() });
        enrolments.spawn(async move { admin.post("/api/v1/devices", body).await });
    }
    let mut addresses = Vec::new();
    for reply in enrolments.join_all().await {
        match reply.status.as_u16() {
            201 => addresses.push(reply.json()["v4"].as_str().unwrap().to_owned()),
            _ => drop(reply.problem(409, "pool_exhausted")),
        }
    }
    addresses.sort();
    // .8 is the network's, .9 the gateways', .15 the broadcast address.
    assert_eq!(addresses, ["10.7.0.10", "10.7.0.11", "10.7.0.12", "10.7.0.13", "10.7.0.14"]);
}

#[tokio::test]
async fn an_exhausted_ipv6_pool_is_refused_too() {
    let api = Api::start().await;
    let admin = api.owner().await;
    pools(&admin, "10.7.0.0/24", "fd07::/126").await;
    assert_eq!(
        [admin.enrol().await["v6"].clone(), admin.enrol().await["v6"].clone()],
        ["fd07::2", "fd07::3"]
    );
    let body = json!({ "name": "third", "public_key": key() });
    admin.post("/api/v1/devices", body).await.problem(409, "pool_exhausted");
}

#[tokio::test]
async fn a_removed_devices_addresses_rest_before_they_are_given_again() {
    let api = Api::start().await;
    let admin = api.owner().await;
    pools(&admin, "10.7.0.0/29", "fd07::/64").await;
    let first = admin.enrol().await;
    admin.delete(&path(&first)).await.ok(204);
    let second = admin.enrol().await;
    assert_eq!((&second["v4"], &second["v6"]), (&json!("10.7.0.3"), &json!("fd07::3")));
    api.execute("UPDATE resting_addresses SET until = now()").await;
    assert_eq!(admin.enrol().await["v4"], "10.7.0.2");
}

#[tokio::test]
async fn the_database_itself_refuses_an_address_twice_and_a_range_as_an_address() {
    let api = Api::start().await;
    let alice = api.user("alice", "user").await;
    alice.enrol().await;
    let mut db = api.sql().await;
    for (v4, v6) in [
        ("100.96.0.2", "fd6e:7861::9"),
        ("100.96.0.9", "fd6e:7861::2"),
        ("100.96.0.0/24", "fd6e:7861::9"),
        ("fd00::1", "fd00::2"),
    ] {
        let sql = "INSERT INTO devices (id, user_id, name, public_key, v4, v6) VALUES ($1, $2, 'x', sha256('x'), $3::inet, $4::inet)";
        let inserted =
            sqlx::query(sql).bind(Uuid::now_v7()).bind(alice.id).bind(v4).bind(v6).execute(&mut db).await;
        assert!(inserted.is_err(), "{v4} {v6}");
    }
}

#[tokio::test]
async fn a_device_that_a_rule_names_stays() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let device = admin.enrol().await;
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    admin.make_rule(json!({ "kind": "device", "id": device["id"] }), &resource).await;
    admin.delete(&path(&device)).await.problem(409, "in_use");
}
