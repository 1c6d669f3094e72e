use serde_json::json;

use crate::support::{Api, unique};

#[tokio::test]
async fn a_gateway_is_made_with_a_token_shown_once() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let body = json!({ "name": "gw1", "endpoint": "VPN.example.com:51900" });
    let mut made = admin.post("/api/v1/gateways", body).await.ok(201);
    let token = made.as_object_mut().unwrap().remove("token").unwrap();
    assert_eq!(token.as_str().unwrap().len(), 43);
    assert_eq!(made["endpoint"], "vpn.example.com:51900");
    for field in ["public_key", "applied_revision", "version", "last_seen"] {
        assert_eq!(made[field], json!(null), "{field}");
    }
    assert_eq!(made["connected"], false);
    let path = format!("/api/v1/gateways/{}", made["id"].as_str().unwrap());
    assert_eq!(admin.get(&path).await.ok(200), made);
    assert_eq!(admin.get("/api/v1/gateways").await.ok(200)["items"], json!([made]));

    let changed = admin.patch(&path, json!({ "endpoint": "[2001:db8::1]:51901" })).await.ok(200);
    assert_eq!((&changed["name"], &changed["endpoint"]), (&json!("gw1"), &json!("[2001:db8::1]:51901")));
    let renewed = admin.call("POST", &format!("{path}/token"), None).await.ok(200);
    assert_ne!(renewed["token"], token);
    admin.delete(&path).await.ok(204);
    admin.get(&path).await.problem(404, "not_found");
    admin.delete(&path).await.problem(404, "not_found");
    admin.patch(&path, json!({ "name": "x" })).await.problem(404, "not_found");
    admin.call("POST", &format!("{path}/token"), None).await.problem(404, "not_found");
}

#[tokio::test]
async fn bad_gateways_are_refused() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let made = admin.make_gateway().await;
    for endpoint in ["", "host", "host:0", "10.0.0.1:99999", "a b:1", "h:1\nPostUp = x", "2001:db8::1:51900"]
    {
        let body = json!({ "name": unique("gw"), "endpoint": endpoint });
        admin.post("/api/v1/gateways", body).await.invalid("invalid_endpoint", "endpoint");
        let path = format!("/api/v1/gateways/{}", made["id"].as_str().unwrap());
        admin.patch(&path, json!({ "endpoint": endpoint })).await.invalid("invalid_endpoint", "endpoint");
    }
    let body = json!({ "name": "a\nb", "endpoint": "h:1" });
    admin.post("/api/v1/gateways", body).await.invalid("invalid_name", "name");
    let body = json!({ "name": made["name"], "endpoint": "h:1" });
    admin.post("/api/v1/gateways", body.clone()).await.problem(409, "name_taken");
    let other = admin.make_gateway().await;
    let path = format!("/api/v1/gateways/{}", other["id"].as_str().unwrap());
    admin.patch(&path, body).await.problem(409, "name_taken");
}
