use std::time::{Duration, Instant};

use nexa_types::Revision;
use nexa_wire::gateway::{FromGateway, PeerReport};
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::support::{Api, Client, Stream, eventually, key};

/// A gateway that has said hello, and its first snapshot's revision.
async fn connected(api: &Api, admin: &Client) -> (String, Stream) {
    let gateway = admin.make_gateway().await;
    let mut stream = api.stream(gateway["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    (gateway["id"].as_str().unwrap().to_owned(), stream)
}

#[tokio::test]
async fn a_hello_is_answered_with_the_whole_state() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let alice = api.user("alice", "user").await;
    let group = admin.make_group().await;
    let group_id = group["id"].as_str().unwrap();
    admin.call("PUT", &format!("/api/v1/groups/{group_id}/members/{}", alice.id), None).await.ok(204);
    let device = alice.enrol().await;
    let resource = admin.make_resource(&["10.20.0.0/24", "fd20::/64"]).await;
    let rule = admin.make_rule(json!({ "kind": "group", "id": group_id }), &resource).await;

    let (gateway, mut stream) = connected(&api, &admin).await;
    let (sealed, snapshot) = stream.sealed().await;
    let network = admin.get("/api/v1/network").await.ok(200);
    assert_eq!(json!(sealed.revision), network["revision"]);
    let snapshot = serde_json::to_value(snapshot).unwrap();
    assert_eq!(
        snapshot["network"],
        json!({ "gateway": gateway, "pool_v4": "100.96.0.0/16", "pool_v6": "fd6e:7861::/64", "tunnel_v4": "100.96.0.1",
                "tunnel_v6": "fd6e:7861::1", "listen_port": 51900, "mtu": 1420 })
    );
    assert_eq!(
        snapshot["peers"],
        json!([{ "device": device["id"], "name": device["name"], "user": alice.id, "owner": "alice", "groups": [group_id],
                 "public_key": device["public_key"], "v4": "100.96.0.2", "v6": "fd6e:7861::2" }])
    );
    let traffic = json!([{ "protocol": "tcp", "ports": "443" }]);
    assert_eq!(
        snapshot["resources"],
        json!([{ "id": resource["id"], "name": resource["name"], "cidrs": ["10.20.0.0/24", "fd20::/64"], "traffic": traffic }])
    );
    assert_eq!(
        snapshot["rules"],
        json!([{ "id": rule["id"], "effect": "allow", "who": [{ "kind": "group", "id": group_id }],
                 "what": [{ "kind": "resource", "id": resource["id"] }] }])
    );
}

#[tokio::test]
async fn every_kind_of_change_reaches_the_gateway_and_no_other_does() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let alice = api.user("alice", "user").await;
    let (_, mut stream) = connected(&api, &admin).await;
    assert_eq!(stream.snapshot().await.peers.len(), 0);

    let device = alice.enrol().await;
    assert_eq!(stream.snapshot().await.peers.len(), 1);
    let resource = admin.make_resource(&["10.0.0.0/8"]).await;
    assert_eq!(stream.snapshot().await.resources.len(), 1);
    let rule = admin.make_rule(json!({ "kind": "everyone" }), &resource).await;
    assert_eq!(stream.snapshot().await.rules.len(), 1);

    let path = format!("/api/v1/rules/{}", rule["id"]);
    admin.patch(&path, json!({ "note": "nobody sees it" })).await.ok(200);
    admin.make_group().await;
    api.user("bob", "user").await;
    admin.get("/api/v1/users").await.ok(200);
    assert!(stream.is_silent().await);

    admin.patch(&path, json!({ "enabled": false })).await.ok(200);
    assert_eq!(stream.snapshot().await.rules.len(), 0);
    admin.patch(&path, json!({ "enabled": true })).await.ok(200);
    assert_eq!(stream.snapshot().await.rules.len(), 1);
    admin.delete(&path).await.ok(204);
    assert_eq!(stream.snapshot().await.rules.len(), 0);

    let path = format!("/api/v1/devices/{}", device["id"].as_str().unwrap());
    admin.patch(&path, json!({ "disabled": true })).await.ok(200);
    assert_eq!(stream.snapshot().await.peers.len(), 0);
    admin.patch(&path, json!({ "disabled": false })).await.ok(200);
    assert_eq!(stream.snapshot().await.peers.len(), 1);
    alice.delete(&path).await.ok(204);
    assert_eq!(stream.snapshot().await.peers.len(), 0);
}

#[tokio::test]
async fn a_disabled_user_leaves_with_all_devices() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (alice, bob) = (api.user("alice", "user").await, api.user("bob", "user").await);
    alice.enrol().await;
    alice.enrol().await;
    let kept = bob.enrol().await;
    let (_, mut stream) = connected(&api, &admin).await;
    assert_eq!(stream.snapshot().await.peers.len(), 3);
    admin.patch(&format!("/api/v1/users/{}", alice.id), json!({ "disabled": true })).await.ok(200);
    let peers = stream.snapshot().await.peers;
    assert_eq!(json!(peers.iter().map(|peer| peer.device).collect::<Vec<_>>()), json!([kept["id"]]));
    alice.get("/api/v1/me").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_device_leaves_when_it_expires() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let device = admin.enrol().await;
    let (_, mut stream) = connected(&api, &admin).await;
    assert_eq!(stream.snapshot().await.peers.len(), 1);
    let path = format!("/api/v1/devices/{}", device["id"].as_str().unwrap());
    let soon = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1200);
    admin.patch(&path, json!({ "expires_at": soon })).await.ok(200);
    let peers = stream.snapshot().await.peers;
    assert_eq!(peers[0].expires_at.map(|at| at.timestamp_micros()), Some(soon.timestamp_micros()));
    assert_eq!(stream.snapshot().await.peers.len(), 0);
    assert_eq!(admin.get(&path).await.ok(200)["status"], "expired");
    let audit = admin.get("/api/v1/audit?limit=1").await.ok(200);
    assert_eq!(
        (&audit["items"][0]["action"], &audit["items"][0]["actor"]["kind"]),
        (&json!("device.expire"), &json!("system"))
    );
    admin.patch(&path, json!({ "expires_at": null })).await.ok(200);
    assert_eq!(stream.snapshot().await.peers.len(), 1);
}

#[tokio::test]
async fn a_change_reaches_the_gateway_by_the_doorbell_and_not_by_the_timer() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (_, mut stream) = connected(&api, &admin).await;
    stream.snapshot().await;
    let begun = Instant::now();
    for _ in 0..10 {
        admin.make_resource(&["10.0.0.0/8"]).await;
        stream.snapshot().await;
    }
    // The timer alone, every five seconds, would find one of these changes a round.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn figures_and_acknowledgements_are_shown() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let device = admin.enrol().await;
    let id: nexa_types::DeviceId = device["id"].as_str().unwrap().parse().unwrap();
    let (gateway, mut stream) = connected(&api, &admin).await;
    let (sealed, _) = stream.sealed().await;
    stream.send(&FromGateway::Ack { revision: sealed.revision }).await;
    let peer = |device, received_bytes| PeerReport {
        device,
        last_handshake_unix: Some(1_700_000_000),
        received_bytes,
        sent_bytes: u64::MAX,
    };
    // A second gateway that reports as much does not break the sum.
    let (_, mut second) = connected(&api, &admin).await;
    second.snapshot().await;
    second.send(&FromGateway::Peers { peers: vec![peer(id, 0)] }).await;
    let gone = nexa_types::DeviceId(uuid::Uuid::now_v7());
    stream.send(&FromGateway::Peers { peers: vec![peer(id, 7), peer(gone, 1), peer(id, 7)] }).await;
    let (gateway, device) = (format!("/api/v1/gateways/{gateway}"), format!("/api/v1/devices/{id}"));
    eventually("both reports are stored", async || {
        api.scalar::<i64>("SELECT count(*) FROM device_reports").await == 2
    })
    .await;
    let shown = admin.get(&device).await.ok(200);
    assert_eq!(shown["last_handshake_at"], "2023-11-14T22:13:20Z");
    assert_eq!((&shown["received_bytes"], &shown["sent_bytes"]), (&json!(7), &json!(i64::MAX)));

    let shown = admin.get(&gateway).await.ok(200);
    assert_eq!((&shown["connected"], &shown["version"]), (&json!(true), &json!("0.1.0-test")));
    assert_eq!(shown["applied_revision"], json!(sealed.revision));
    assert!(shown["last_seen"].is_string() && shown["public_key"].is_string());

    let reason = "no such map\nforged line".to_owned();
    stream.send(&FromGateway::Refused { revision: Revision(99), reason }).await;
    eventually("the refusal is shown", async || {
        admin.get(&gateway).await.ok(200)["refused_reason"] == "no such mapforged line"
    })
    .await;
    drop(stream);
    eventually("the gateway is shown as gone", async || {
        admin.get(&gateway).await.ok(200)["connected"] == false
    })
    .await;
}

#[tokio::test]
async fn data_that_are_behind_a_gateway_number_on_from_there() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let gateway = admin.make_gateway().await;
    let (token, own) = (gateway["token"].as_str().unwrap(), key());
    let mut stream = api.stream(token).await;
    stream.hello(&own).await;
    let (first, _) = stream.sealed().await;

    let mut stream = api.stream(token).await;
    stream.hello_with(&own, Some((first.revision.0, &first.hash))).await;
    assert_eq!(stream.sealed().await.0.revision, first.revision, "it has just what we have");

    // As after a restore: the gateway saw revisions that this database knows nothing of, or saw another content.
    let ahead = first.revision.0 + 40;
    for (revision, hash) in [(ahead, &*first.hash), (ahead + 1, "00")] {
        let mut stream = api.stream(token).await;
        stream.hello_with(&own, Some((revision, hash))).await;
        assert_eq!(stream.sealed().await.0.revision, Revision(revision + 1));
    }
    let entries = admin.get("/api/v1/audit?limit=2").await.ok(200);
    for (entry, after) in entries["items"].as_array().unwrap().iter().zip([ahead + 2, ahead + 1]) {
        assert_eq!(entry["action"], "network.number_on");
        assert_eq!((&entry["after"], &entry["actor"]["name"]), (&json!(after), &gateway["name"]));
    }

    // No gateway can use up the numbers.
    let mut stream = api.stream(token).await;
    stream.hello_with(&own, Some((1 << 60, "00"))).await;
    admin.make_resource(&["10.0.0.0/8"]).await;
    let network = admin.get("/api/v1/network").await.ok(200);
    assert_eq!(network["revision"], json!(ahead + 3), "only the resource's own");
}

#[tokio::test]
async fn a_wrong_token_is_refused_before_the_upgrade() {
    let api = Api::start().await;
    let admin = api.owner().await;
    for token in ["", "guess", admin.token.as_ref().unwrap()] {
        let Err(Error::Http(response)) = Stream::try_open(api.router.clone(), token).await else {
            panic!("refused")
        };
        assert_eq!(response.status(), 401);
        let problem: serde_json::Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
        assert_eq!(problem["code"], "gateway_token_invalid");
    }
}

#[tokio::test]
async fn without_a_hello_of_this_protocol_the_stream_is_closed() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let gateway = admin.make_gateway().await;
    let token = gateway["token"].as_str().unwrap();
    let newer =
        json!({ "type": "hello", "protocol": 2, "version": "9", "public_key": key(), "applied": null });
    for first in [
        newer.to_string(),
        r#"{"type":"ack","revision":1}"#.into(),
        r#"{"type":"later"}"#.into(),
        "no".into(),
    ] {
        let mut stream = api.stream(token).await;
        stream.send_text(&first).await;
        assert_eq!(stream.close_code().await, 4400, "{first}");
    }
}

#[tokio::test]
async fn frames_of_unknown_kinds_are_ignored() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (_, mut stream) = connected(&api, &admin).await;
    stream.snapshot().await;
    stream.send_text(r#"{"type":"weather","sunny":true}"#).await;
    admin.make_resource(&["10.0.0.0/8"]).await;
    assert_eq!(stream.snapshot().await.resources.len(), 1);
}

#[tokio::test]
async fn a_new_token_a_removal_and_a_second_stream_end_the_first() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let (id, mut stream) = connected(&api, &admin).await;
    stream.snapshot().await;
    let renewed = admin.call("POST", &format!("/api/v1/gateways/{id}/token"), None).await.ok(200);
    assert_eq!(stream.close_code().await, 4401);

    let mut stream = api.stream(renewed["token"].as_str().unwrap()).await;
    stream.hello(&key()).await;
    stream.snapshot().await;
    admin.delete(&format!("/api/v1/gateways/{id}")).await.ok(204);
    assert_eq!(stream.close_code().await, 4401);
}

#[tokio::test]
async fn a_gateway_cannot_take_the_key_of_a_device_nor_a_device_that_of_a_gateway() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let device = admin.enrol().await;
    let gateway = admin.make_gateway().await;
    let token = gateway["token"].as_str().unwrap();
    let mut stream = api.stream(token).await;
    stream.hello(device["public_key"].as_str().unwrap()).await;
    assert_eq!(stream.close_code().await, 4409);

    let own = key();
    let mut stream = api.stream(token).await;
    stream.hello(&own).await;
    stream.snapshot().await;
    let body = json!({ "name": "thief", "public_key": own });
    assert_eq!(
        admin.post("/api/v1/devices", body).await.problem(409, "public_key_taken")["field"],
        "public_key"
    );
}

#[tokio::test]
async fn streams_close_when_the_server_stops() {
    let database = Api::start().await.database.clone();
    let (app, background) = nexa_control::app::App::start(&database).await.unwrap();
    let api = Api::over(database).await;
    let gateway = api.owner().await.make_gateway().await;
    let mut stream = Stream::open(
        nexa_control::http::router(app, nexa_control::http::Serving::default()),
        gateway["token"].as_str().unwrap(),
    )
    .await;
    stream.hello(&key()).await;
    stream.snapshot().await;
    background.stop().await;
    assert_eq!(stream.close_code().await, 1001);
}
