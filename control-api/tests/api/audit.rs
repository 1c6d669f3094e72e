use serde_json::{Value, json};

use crate::support::{Api, Client, PASSWORD, key};

async fn newest(admin: &Client) -> Value {
    admin.get("/api/v1/audit?limit=1").await.ok(200)["items"][0].clone()
}

#[tokio::test]
async fn every_change_leaves_one_row_and_a_refused_one_none() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (user, group) = (api.user("alice", "user").await.id, admin.make_group().await);
    let (resource, device) = (admin.make_resource(&["10.0.0.0/8"]).await, admin.enrol().await);
    let rule = admin.make_rule(json!({ "kind": "everyone" }), &resource).await;
    let gateway = admin.make_gateway().await;
    let at =
        |noun: &str, made: &Value| format!("/api/v1/{noun}/{}", made["id"].to_string().trim_matches('"'));
    let (users, groups) = (format!("/api/v1/users/{user}"), at("groups", &group));
    let (resources, rules) = (at("resources", &resource), at("rules", &rule));
    let (devices, gateways) = (at("devices", &device), at("gateways", &gateway));
    let replaced = json!({ "name": "new", "cidrs": ["10.1.0.0/16"], "traffic": [{ "protocol": "any" }] });
    let made = |name: &str| json!({ "name": name });
    let network = json!({ "pool_v4": "100.96.0.0/16", "pool_v6": "fd6e:7861::/64", "mtu": 1400 });
    let rule_body = json!({ "effect": "allow", "who": [{ "kind": "everyone" }], "what": [{ "kind": "resource", "id": resource["id"] }] });
    let changes = [
        (
            "POST",
            "/api/v1/users".into(),
            Some(json!({ "username": "bob", "password": PASSWORD })),
            "user.create",
        ),
        ("PATCH", users.clone(), Some(json!({ "display_name": "A" })), "user.update"),
        ("PATCH", users.clone(), Some(json!({ "password": "a new password" })), "user.set_password"),
        ("POST", "/api/v1/groups".into(), Some(made("g")), "group.create"),
        ("PUT", format!("{groups}/members/{user}"), None, "group.add_member"),
        ("DELETE", format!("{groups}/members/{user}"), None, "group.remove_member"),
        ("DELETE", groups, None, "group.delete"),
        (
            "POST",
            "/api/v1/resources".into(),
            Some(json!({ "name": "r", "cidrs": ["10.2.0.0/16"], "traffic": [{ "protocol": "any" }] })),
            "resource.create",
        ),
        ("PUT", resources.clone(), Some(replaced), "resource.update"),
        ("POST", "/api/v1/rules".into(), Some(rule_body), "rule.create"),
        ("PATCH", rules.clone(), Some(json!({ "enabled": false })), "rule.update"),
        ("PATCH", rules.clone(), Some(json!({ "note": "n" })), "rule.update"),
        ("DELETE", rules, None, "rule.delete"),
        ("DELETE", "/api/v1/rules/2".into(), None, "rule.delete"),
        ("DELETE", resources, None, "resource.delete"),
        ("POST", "/api/v1/devices".into(), Some(json!({ "name": "d", "public_key": key() })), "device.enrol"),
        ("PATCH", devices.clone(), Some(json!({ "disabled": true })), "device.update"),
        ("DELETE", devices, None, "device.delete"),
        (
            "POST",
            "/api/v1/gateways".into(),
            Some(json!({ "name": "gw", "endpoint": "h:1" })),
            "gateway.create",
        ),
        ("PATCH", gateways.clone(), Some(json!({ "name": "gw2" })), "gateway.update"),
        ("POST", format!("{gateways}/token"), None, "gateway.renew_token"),
        ("DELETE", gateways, None, "gateway.delete"),
        ("PUT", "/api/v1/network".into(), Some(network), "network.update"),
        ("DELETE", users, None, "user.delete"),
        (
            "POST",
            "/api/v1/sessions".into(),
            Some(json!({ "username": "bob", "password": PASSWORD })),
            "session.create",
        ),
    ];
    let mut count: i64 = api.scalar("SELECT count(*) FROM audit").await;
    for (method, path, body, action) in changes {
        let reply = admin.call(method, &path, body).await;
        assert!(reply.status.is_success(), "{method} {path}: {}", reply.text);
        count += 1;
        assert_eq!(api.scalar::<i64>("SELECT count(*) FROM audit").await, count, "{method} {path}");
        let event = newest(&admin).await;
        assert_eq!(event["action"], action);
        assert_eq!(event["target_kind"], action.split('.').next().unwrap());
        if action != "session.create" {
            assert_eq!(event["actor"]["id"], json!(admin.id));
        }
        let verb = action.split('.').nth(1).unwrap();
        assert_eq!(event["before"].is_null(), matches!(verb, "create" | "enrol" | "renew_token"), "{event}");
        assert_eq!(event["after"].is_null(), matches!(verb, "delete" | "renew_token"), "{event}");
    }
    admin.post("/api/v1/groups", made("G")).await.problem(409, "name_taken");
    admin.post("/api/v1/groups", made("")).await.problem(422, "invalid_name");
    admin.get("/api/v1/users").await.ok(200);
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM audit").await, count);
    admin.delete("/api/v1/sessions/current").await.ok(204);
    assert_eq!(
        api.scalar::<String>("SELECT action FROM audit ORDER BY id DESC LIMIT 1").await,
        "session.delete"
    );
}

#[tokio::test]
async fn a_row_says_what_was_and_what_is() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let made = admin.make_resource(&["10.0.0.0/8"]).await;
    let body = json!({ "name": "new", "cidrs": ["10.1.0.0/16"], "traffic": [{ "protocol": "any" }] });
    let path = format!("/api/v1/resources/{}", made["id"].as_str().unwrap());
    let replaced = admin.put(&path, body.clone()).await.ok(200);
    let event = newest(&admin).await;
    assert_eq!((&event["before"], &event["after"], &event["target_id"]), (&made, &replaced, &made["id"]));
    admin.put(&path, body).await.ok(200);
    assert_eq!(newest(&admin).await, event, "no change, no row");
}

#[tokio::test]
async fn a_change_whose_audit_row_cannot_be_written_is_not_made() {
    let api = Api::start().await;
    let admin = api.owner().await;
    api.execute("ALTER TABLE audit ADD CONSTRAINT full_up CHECK (action <> 'group.create')").await;
    admin.post("/api/v1/groups", json!({ "name": "g" })).await.problem(500, "internal");
    assert_eq!(admin.get("/api/v1/groups").await.ok(200)["items"], json!([]));
}

#[tokio::test]
async fn rows_come_newest_first_in_pages() {
    let api = Api::start().await;
    let admin = api.owner().await;
    for _ in 0..5 {
        admin.make_group().await;
    }
    let first = admin.get("/api/v1/audit?limit=3").await.ok(200);
    let ids = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|e| e["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = admin.get(&format!("/api/v1/audit?limit=3&cursor={cursor}")).await.ok(200);
    let all = [ids(&first), ids(&second)].concat();
    assert_eq!(all.len(), 5);
    assert!(all.is_sorted_by(|a, b| a > b));
    assert_eq!(second["next_cursor"], json!(null));
}
