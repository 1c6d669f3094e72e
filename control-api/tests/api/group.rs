use serde_json::json;
use uuid::Uuid;

use crate::support::Api;

#[tokio::test]
async fn members_come_and_go() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let alice = api.user("alice", "user").await;
    let made = admin.post("/api/v1/groups", json!({ "name": "Staff" })).await.ok(201);
    assert_eq!((&made["name"], &made["members"]), (&json!("Staff"), &json!([])));
    let path = format!("/api/v1/groups/{}", made["id"].as_str().unwrap());
    let member = format!("{path}/members/{}", alice.id);
    for _ in 0..2 {
        admin.call("PUT", &member, None).await.ok(204);
        let shown = admin.get(&path).await.ok(200);
        assert_eq!(
            shown["members"],
            json!([{ "id": alice.id, "username": "alice", "display_name": "alice" }])
        );
    }
    assert_eq!(admin.get("/api/v1/groups").await.ok(200)["items"][0]["members"][0]["username"], "alice");
    admin.delete(&member).await.ok(204);
    admin.delete(&member).await.problem(404, "not_found");
    assert_eq!(admin.get(&path).await.ok(200), made);
    admin.delete(&path).await.ok(204);
    admin.get(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn bad_groups_and_members_are_refused() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let made = admin.post("/api/v1/groups", json!({ "name": "staff" })).await.ok(201);
    assert_eq!(
        admin.post("/api/v1/groups", json!({ "name": "STAFF" })).await.problem(409, "name_taken")["field"],
        "name"
    );
    for name in ["", " staff", "a\tb"] {
        admin.post("/api/v1/groups", json!({ "name": name })).await.invalid("invalid_name", "name");
    }
    admin.post("/api/v1/groups", json!({})).await.invalid("invalid_body", "name");
    let (group, absent) = (made["id"].as_str().unwrap(), Uuid::now_v7());
    admin
        .call("PUT", &format!("/api/v1/groups/{group}/members/{absent}"), None)
        .await
        .problem(404, "not_found");
    admin
        .call("PUT", &format!("/api/v1/groups/{absent}/members/{}", admin.id), None)
        .await
        .problem(404, "not_found");
    admin.delete(&format!("/api/v1/groups/{absent}")).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_group_that_a_rule_names_stays() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let group = admin.make_group().await;
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    admin.make_rule(json!({ "kind": "group", "id": group["id"] }), &resource).await;
    admin.delete(&format!("/api/v1/groups/{}", group["id"].as_str().unwrap())).await.problem(409, "in_use");
}
