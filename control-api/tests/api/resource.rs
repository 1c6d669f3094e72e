use serde_json::{Value, json};

use crate::support::Api;

fn body(cidrs: Value, traffic: Value) -> Value {
    json!({ "name": "web", "cidrs": cidrs, "traffic": traffic })
}

#[tokio::test]
async fn a_resource_is_made_shown_replaced_and_removed() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let traffic = json!([{ "protocol": "tcp", "ports": "443" }, { "protocol": "udp", "ports": "8000-8100" }, { "protocol": "icmp" }]);
    let made = admin
        .post("/api/v1/resources", body(json!(["10.20.0.0/24", "fd20::/64"]), traffic.clone()))
        .await
        .ok(201);
    assert_eq!((&made["cidrs"], &made["traffic"]), (&json!(["10.20.0.0/24", "fd20::/64"]), &traffic));
    let path = format!("/api/v1/resources/{}", made["id"].as_str().unwrap());
    assert_eq!(admin.get(&path).await.ok(200), made);
    assert_eq!(admin.get("/api/v1/resources").await.ok(200)["items"], json!([made]));

    let all = json!({ "name": "all", "cidrs": ["0.0.0.0/0", "::/0"], "traffic": [{ "protocol": "any" }] });
    let replaced = admin.put(&path, all).await.ok(200);
    assert_eq!((&replaced["id"], &replaced["created_at"]), (&made["id"], &made["created_at"]));
    assert_eq!(replaced["cidrs"], json!(["0.0.0.0/0", "::/0"]));
    assert_eq!(admin.get(&path).await.ok(200), replaced);

    admin.delete(&path).await.ok(204);
    admin.delete(&path).await.problem(404, "not_found");
    admin
        .put(&path, body(json!(["10.0.0.0/8"]), json!([{ "protocol": "any" }])))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn an_address_alone_is_its_host_prefix_and_numbers_are_protocols() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let made = admin
        .post(
            "/api/v1/resources",
            body(
                json!(["10.20.0.10", "fd20::10"]),
                json!([{ "protocol": "132" }, { "protocol": "6", "ports": "1-65535" }]),
            ),
        )
        .await
        .ok(201);
    assert_eq!(made["cidrs"], json!(["10.20.0.10/32", "fd20::10/128"]));
    assert_eq!(made["traffic"], json!([{ "protocol": "132" }, { "protocol": "tcp", "ports": "any" }]));
}

#[tokio::test]
async fn bad_resources_are_refused_with_field_and_code_and_nothing_is_written() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let any = || json!([{ "protocol": "any" }]);
    let net = || json!(["10.20.0.0/24"]);
    let port =
        |ports: &str| json!([{ "protocol": "udp", "ports": "1" }, { "protocol": "tcp", "ports": ports }]);
    let cases = [
        (body(json!([]), any()), "empty_list", "cidrs"),
        (body(net(), json!([])), "empty_list", "traffic"),
        (body(json!(["10.20.0.9/24"]), any()), "host_bits", "cidrs[0]"),
        (body(json!(["10.20.0.0/24", "fd20::1/64"]), any()), "host_bits", "cidrs[1]"),
        (body(json!(["10.20.0.0/33"]), any()), "invalid_cidr", "cidrs[0]"),
        (body(json!(["web.example.com"]), any()), "invalid_cidr", "cidrs[0]"),
        (body(json!(["10.20.0.0/24", "10.20.0.0/24"]), any()), "cidr_overlap", "cidrs[1]"),
        (body(json!(["fd20::/64", "10.20.0.7", "10.20.0.0/24"]), any()), "cidr_overlap", "cidrs[2]"),
        (body(net(), port("0")), "port_zero", "traffic[1].ports"),
        (body(net(), port("0-80")), "port_zero", "traffic[1].ports"),
        (body(net(), port("81-80")), "ports_reversed", "traffic[1].ports"),
        (body(net(), port("65536")), "invalid_ports", "traffic[1].ports"),
        (body(net(), port("http")), "invalid_ports", "traffic[1].ports"),
        (body(net(), json!([{ "protocol": "tcp" }])), "ports_missing", "traffic[0].ports"),
        (body(net(), json!([{ "protocol": "icmp", "ports": "1" }])), "ports_not_allowed", "traffic[0].ports"),
        (
            body(net(), json!([{ "protocol": "quic", "ports": "1" }])),
            "invalid_protocol",
            "traffic[0].protocol",
        ),
        (body(net(), json!([{ "protocol": "any" }, { "protocol": "any" }])), "duplicate", "traffic[1]"),
        (body(net(), json!([{ "protocol": "tcp", "port": "443" }])), "invalid_body", "traffic[0].port"),
        (body(json!("10.20.0.0/24"), any()), "invalid_body", "cidrs"),
        (json!({ "name": "", "cidrs": net(), "traffic": any() }), "invalid_name", "name"),
    ];
    let good = admin.make_resource(&["10.9.0.0/16"]).await;
    let path = format!("/api/v1/resources/{}", good["id"].as_str().unwrap());
    let before = admin.get("/api/v1/network").await.ok(200)["revision"].clone();
    for (body, code, field) in cases {
        admin.post("/api/v1/resources", body.clone()).await.invalid(code, field);
        admin.put(&path, body).await.invalid(code, field);
    }
    assert_eq!(admin.get("/api/v1/resources").await.ok(200)["items"], json!([good]));
    assert_eq!(admin.get("/api/v1/network").await.ok(200)["revision"], before);
}

#[tokio::test]
async fn names_are_unique_and_what_a_rule_names_stays() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (first, second) =
        (admin.make_resource(&["10.1.0.0/16"]).await, admin.make_resource(&["10.2.0.0/16"]).await);
    let name = first["name"].as_str().unwrap().to_uppercase();
    let body = json!({ "name": name, "cidrs": ["10.3.0.0/16"], "traffic": [{ "protocol": "any" }] });
    admin.post("/api/v1/resources", body.clone()).await.problem(409, "name_taken");
    let path = format!("/api/v1/resources/{}", second["id"].as_str().unwrap());
    admin.put(&path, body).await.problem(409, "name_taken");
    assert_eq!(admin.get(&path).await.ok(200), second);
    admin.make_rule(json!({ "kind": "everyone" }), &second).await;
    admin.delete(&path).await.problem(409, "in_use");
}

#[tokio::test]
async fn a_resource_can_be_devices_and_is_named_where_they_would_be_removed() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (alice, group) = (api.user("alice", "user").await, admin.make_group().await);
    let device = alice.enrol().await;
    let ssh = json!([{ "protocol": "tcp", "ports": "22" }]);
    let named = |devices: Value| json!({ "name": "laptops", "devices": devices, "traffic": ssh });
    let all = json!([
        { "kind": "everyone" },
        { "kind": "group", "id": group["id"] },
        { "kind": "user", "id": alice.id },
        { "kind": "device", "id": device["id"] },
    ]);
    let made = admin.post("/api/v1/resources", named(all.clone())).await.ok(201);
    assert_eq!((&made["devices"], &made["cidrs"]), (&all, &json!([])));
    let path = format!("/api/v1/resources/{}", made["id"].as_str().unwrap());
    assert_eq!(admin.get(&path).await.ok(200), made);

    for (noun, id) in [("groups", &group["id"]), ("users", &json!(alice.id)), ("devices", &device["id"])] {
        let reply = admin.delete(&format!("/api/v1/{noun}/{}", id.as_str().unwrap())).await;
        let problem = reply.problem(409, "in_use");
        assert!(problem["detail"].as_str().unwrap().contains("resource laptops"), "{problem}");
    }
    let only = json!([{ "kind": "device", "id": device["id"] }]);
    let replaced = admin.put(&path, named(only.clone())).await.ok(200);
    assert_eq!(replaced["devices"], only);
    admin.delete(&format!("/api/v1/groups/{}", group["id"].as_str().unwrap())).await.ok(204);
    admin.delete(&path).await.ok(204);
    admin.delete(&format!("/api/v1/users/{}", alice.id)).await.ok(204);

    let nobody = uuid::Uuid::now_v7();
    let bad = named(json!([{ "kind": "everyone" }, { "kind": "device", "id": nobody }]));
    admin.post("/api/v1/resources", bad).await.invalid("unknown_id", "devices[1].id");
    let twice = json!([{ "kind": "everyone" }, { "kind": "everyone" }]);
    admin.post("/api/v1/resources", named(twice)).await.invalid("duplicate", "devices[1]");
    admin.post("/api/v1/resources", named(json!([]))).await.invalid("empty_list", "cidrs");
    assert_eq!(admin.get("/api/v1/resources").await.ok(200)["items"], json!([]));
}
